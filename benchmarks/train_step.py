"""One training step, batch 8, on the CPU: ours in bf16 and channels_last beside torchvision's eager fp32 step.

    .venv/bin/python -m benchmarks.train_step --peers ~/peers

A step is forward, matching, loss, backward and SGD, on images that are in memory. torchvision's is what its users
get without asking for more: float32 and NCHW; its network has 21 classes as ours has. Wall time on two threads.
The targets are 2.2x for vgg300 and 1.5x for lite320 against ssdlite320.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.peers import Peer, peer_argument
from benchmarks.steps import arguments_of, recipe, step
from benchmarks.timing import Seconds, interleaved, machine, ratio, table

TARGETS = {"vgg300": 2.2, "lite320": 1.5}
PEERS = {"vgg300": "ssd300_vgg16", "lite320": "ssdlite320_mobilenet_v3_large"}


def main() -> None:
    """Measure both models, or the one that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=TARGETS, action="append")
    parser.add_argument("--fp32", action="store_true", help="our step in fp32, too")
    parser.add_argument("--compile", action="store_true", help="our step through torch.compile, too")
    peer_argument(parser)
    chosen = arguments_of(parser)
    print(machine("torch"), f"{chosen.threads} threads", sep=", ")
    with ExitStack() as stack:
        peer = None
        if chosen.peers is not None:
            peer = stack.enter_context(Peer("benchmarks/peer_train.py", environment=chosen.peers))
        for model in chosen.model or TARGETS:
            ours = recipe(model, chosen.batch_size, chosen.precision, chosen.size)
            name = f"ours, {chosen.precision}"
            calls: dict[str, Callable[[], object]] = {name: step(ours)}
            if chosen.fp32:
                calls["ours, fp32"] = step(replace(ours, precision="fp32"))
            if chosen.compile:
                calls["ours, compiled"] = step(replace(ours, compile=True))
            if peer is not None:
                asked = {"model": PEERS[model], "batch": chosen.batch_size, "threads": chosen.threads}
                asked["size"] = chosen.size
                calls["torchvision, fp32"] = lambda asked=asked, peer=peer: Seconds(peer.ask(**asked)["seconds"])
            times = interleaved(calls, repeats=chosen.repeats, clock=time.perf_counter)
            print(f"\n{model}\n{table(times, per='image', count=chosen.batch_size)}")
            if peer is not None:
                found = ratio(times, "torchvision, fp32", name)
                print(f"{name}: {found:.2f}x torchvision (target {TARGETS[model]:g}x)")


if __name__ == "__main__":
    main()
