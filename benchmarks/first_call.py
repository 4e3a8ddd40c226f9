"""What the first use of compiled code costs a fresh process, when the machine code is on disk already.

A new interpreter imports numba, torch and hotcoco, runs one trivial kernel of its own from the cache (numba sets its
compiler up then, whoever's kernel it is) and after that ours for the first and for a second time: matching, loss,
postprocessing, VOC's AP. What the first pass takes beyond the second is the price of our kernels. scipy is hidden:
it comes with the development extra only, and where it is, numba loads it in its setup (0.1 to 0.2 s more).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import machine

TARGET_S = 0.3
TRIVIAL = """
import numba
@numba.njit(cache=True)
def one(values):
    return values[0]
"""
PROBE = """
import sys, time
sys.modules["scipy"] = None
import numba, numpy as np, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from trivial_kernel import one
from benchmarks import match_loss, postprocess, scenes
from singleshot.metrics.voc_ap import voc_ap
anchors = scenes.anchors(500)
batch = scenes.training_batch(3, batch=2, count=500)
found, there = scenes.split(20, 20)
find = postprocess.ours(anchors, *scenes.answer(anchors, "sparse"))
torch.zeros(4, 4, requires_grad=True).log_softmax(1).sum().backward()
def all_of_it():
    start = time.process_time()
    match_loss.ours(batch, match_loss.CAFFE)()
    find()
    voc_ap(found, there, 20, metric="voc07")
    return time.process_time() - start
start = time.process_time()
one(np.ones(3, np.float32))
setup = time.process_time() - start
print(setup, all_of_it(), all_of_it())
"""


def main() -> None:
    """Start one process to fill the cache and then some to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    print(machine("numba", "torch", "numpy"))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "trivial_kernel.py").write_text(TRIVIAL, encoding="utf-8")

        def run() -> tuple[float, float]:
            command = [sys.executable, "-c", PROBE, folder]
            words = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            setup, first, second = map(float, words)
            return setup, first - second

        run()
        rounds = [run() for _ in range(arguments.repeats)]
    setup, ours = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(f"numba's own setup at the first kernel, whosever it is: {setup:.3f} s")
    print(f"our kernels, from the cache: {ours:.3f} s; together {setup + ours:.3f} s (target {TARGET_S} s)")


if __name__ == "__main__":
    main()
