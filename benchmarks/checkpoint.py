"""What a checkpoint costs: the copy that training waits for, and the writing that it does not.

    python -m benchmarks.checkpoint [--model lite320] [--batch-size 8]

A step is forward, loss, backward and optimizer on drawn numbers; `copy` is what `Saver.save` keeps the loop for, and
`write` the rest (hashes, disk), which a thread does. `step while writing` shows what that thread takes from the steps.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.timing import Seconds, interleaved, machine, table
from singleshot.detection.ssd import SSD, config_for
from singleshot.training.checkpoint import CheckpointConfig, Saver
from singleshot.training.optimizer import EMA, OptimizerConfig, build
from singleshot.training.state import Progress, facts_of, tensors_of


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="lite320")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.manual_seed(0)
    network = SSD(config_for(given.model, ("thing",))).train()
    optimizer = build(network, OptimizerConfig(kind="adamw"))
    mean, progress = EMA(network, 0.999), Progress()
    height, width = network.config.input_size_hw
    images = torch.randn(given.batch_size, 3, height, width)

    def step() -> None:
        raw = network(images)
        loss = raw.class_logits.square().mean() + raw.box_offsets.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean.update(network)

    step()
    tensors, facts = tensors_of(progress, network, optimizer, mean), facts_of(progress, optimizer, mean)
    size = sum(tensor.nbytes for tensor in tensors.values())
    with tempfile.TemporaryDirectory() as scratch:
        saver = Saver(Path(scratch), CheckpointConfig())
        number = iter(range(1, 1 << 30))

        def copy() -> float:
            saver.wait()
            begin = time.perf_counter()
            saver.save(next(number), tensors, facts)
            taken = time.perf_counter() - begin
            saver.wait()
            writes.append(time.perf_counter() - begin - taken)
            return Seconds(taken)

        def step_while_writing() -> float:
            saver.wait()
            saver.save(next(number), tensors, facts)
            begin = time.perf_counter()
            step()
            return Seconds(time.perf_counter() - begin)

        writes: list[float] = []
        calls = {"step": step, "copy": copy, "step while writing": step_while_writing}
        times = interleaved(calls, repeats=given.rounds, clock=time.perf_counter)
        saver.wait()
    print(machine("torch"))
    print(f"{given.model}, batches of {given.batch_size}: a checkpoint of {size / 1e6:.0f} MB")
    print(table(times))
    write = statistics.median(writes)
    print(f"write, in the background: {write * 1e3:.0f} ms, {size / 1e6 / write:.0f} MB/s")
    cost = times["copy"].median_s + max(times["step while writing"].median_s - times["step"].median_s, 0.0)
    print(f"a checkpoint keeps training for {cost * 1e3:.0f} ms: {cost / 300:.4%} of five minutes (the default)")


if __name__ == "__main__":
    main()
