"""What it saves to train with thinned-out fc6 and fc7: the 2017 post says that it "doubled the speed of training".

    .venv/bin/python -m benchmarks.decimation

SSD makes VGG's two large fully connected layers into a 3×3 convolution with dilation 6 and a 1×1 one, of 1,024
channels. Beside it stands the same detector with both at their full size, 7×7 and 1×1 of 4,096 channels, on the same
map. What comes after is the same but for the number of channels that it is given. Wall time of a whole training step.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from torch import nn

from benchmarks.steps import arguments_of, recipe, step
from benchmarks.timing import interleaved, machine, ratio, table

DENSE = 4096


def make_dense(network: Any) -> None:
    """fc6 and fc7 of a vgg300 at their full size, in place, with what reads them made to fit."""
    vgg = network.backbone.vgg
    vgg.fc6 = nn.Conv2d(512, DENSE, 7, padding=3)
    vgg.fc7 = nn.Conv2d(DENSE, DENSE, 1)
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 1024 and not name.startswith("trunk.vgg."):
            parent, _, last = name.rpartition(".")
            wider = nn.Conv2d(DENSE, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)  # pyright: ignore[reportArgumentType]
            setattr(network.get_submodule(parent), last, wider)


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = arguments_of(parser)
    print(machine("torch"), f"{chosen.threads} threads, {chosen.precision}", sep=", ")
    thinned = recipe("vgg300", chosen.batch_size, chosen.precision, chosen.size)
    calls = {"thinned out": step(thinned), "dense 7x7x4096": step(thinned, make_dense)}
    times = interleaved(calls, repeats=chosen.repeats, clock=time.perf_counter)
    print(table(times, per="image", count=chosen.batch_size))
    print(f"thinned out: {ratio(times, 'dense 7x7x4096', 'thinned out'):.2f}x the speed of training (the post: 2x)")


if __name__ == "__main__":
    main()
