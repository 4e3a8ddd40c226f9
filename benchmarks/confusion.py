"""The confusion matrix of Cityscapes-size label maps (2048x1024, 19 classes), beside torchmetrics' per-image update.

Both count the same uint8 arrays, one image after the other on one thread, and the two matrices are compared number
by number before any time is printed. torchmetrics is shown with its checks of the arguments and without; ours checks
always. What is counted: 16 maps of blocks and noise, void in places, taken in turn until there are as many as wanted.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.peers import Peer, peer_argument
from benchmarks.timing import Seconds, interleaved, machine, one_thread, ratio, table
from singleshot.metrics.mean_iou import confusion, empty_matrix

CLASSES, SIZE_HW, MAPS, VOID = 19, (1024, 2048), 16, 255
TARGET = 5.0


def maps() -> tuple[np.ndarray, np.ndarray]:
    """Truths in blocks with void, and answers that are wrong at one pixel in ten; (MAPS, H, W) uint8 each."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, CLASSES + 1, (MAPS, SIZE_HW[0] // 32, SIZE_HW[1] // 32), dtype=np.uint8)
    truths = blocks.repeat(32, axis=1).repeat(32, axis=2)
    truths[truths == CLASSES] = VOID
    noise = rng.integers(0, CLASSES, truths.shape, dtype=np.uint8)
    answers = np.where((rng.random(truths.shape) < 0.1) | (truths == VOID), noise, truths)
    return truths, answers


def ours(truths: np.ndarray, answers: np.ndarray, pictures: int) -> np.ndarray:
    """The matrix of all images."""
    matrix = empty_matrix(CLASSES)
    for i in range(pictures):
        matrix += confusion(truths[i % MAPS], answers[i % MAPS], CLASSES)
    return matrix


def main() -> None:
    """Print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    peer_argument(parser)
    options = parser.parse_args()
    one_thread()
    truths, answers = maps()
    calls: dict[str, Callable[[], object]] = {"ours": lambda: ours(truths, answers, options.pictures)}
    print(machine("numpy", "numba"))
    if options.peers is None:
        print(table(interleaved(calls, repeats=options.repeats), per="image", count=options.pictures))
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        Peer("benchmarks/peer_confusion.py", environment=options.peers) as peer,
    ):
        files = {"truths": str(Path(folder) / "truths.npy"), "answers": str(Path(folder) / "answers.npy")}
        np.save(files["truths"], truths)
        np.save(files["answers"], answers)

        def ask(validate: bool) -> Seconds:
            answer = peer.ask(**files, classes=CLASSES, pictures=options.pictures, validate=validate)
            mine = ours(truths, answers, options.pictures)[:, :CLASSES]
            if answer["matrix"] != mine.tolist():
                raise SystemExit("the matrices differ")
            return Seconds(answer["seconds"])

        calls |= {"torchmetrics": lambda: ask(True), "torchmetrics, unchecked": lambda: ask(False)}
        times = interleaved(calls, repeats=options.repeats)
    print(table(times, per="image", count=options.pictures))
    for rival in ("torchmetrics", "torchmetrics, unchecked"):
        found = ratio(times, rival, "ours")
        print(f"{rival}: {found:.1f}x of our time (target {TARGET:g}x{'' if found >= TARGET else ', missed'})")


if __name__ == "__main__":
    main()
