"""Softmax, threshold, decoding, suppression and the 200 best, for images of 8,732 anchors and 20 classes, one by one.

In three regimes: about 100, 1,500 and 23,000 scores above 0.01. Equal answers are asserted first, by torchvision's
rules: the same detections are kept, with the same scores and boxes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from benchmarks import scenes
from benchmarks.peers import Peer, peer_argument
from benchmarks.timing import Seconds, interleaved, machine, one_thread, ratio, table
from singleshot.detection.coding import RawDetections
from singleshot.detection.postprocess import Postprocess, postprocess
from singleshot.preprocess import Preprocess
from singleshot.structures import Detections, LabelMap

TARGETS = {"sparse": 10.0, "mid": 4.0, "dense": 1.5}
SIZE = 300
PICTURES = 8


def ours(anchors: np.ndarray, logits: np.ndarray, offsets: np.ndarray) -> Callable[[], list[Detections]]:
    """A call from the network's answer to detections in pixels."""
    raws = [
        RawDetections(*heads)
        for heads in zip(torch.from_numpy(logits).split(1), torch.from_numpy(offsets).split(1), strict=True)
    ]
    names = LabelMap(tuple(f"class {number}" for number in range(logits.shape[2] - 1)))
    config, preprocess, where = Postprocess(clip_before_nms=True), Preprocess(), torch.from_numpy(anchors)
    return lambda: [postprocess(raw, where, [(SIZE, SIZE)], names, config, preprocess)[0] for raw in raws]


def assert_equal(found: list[Detections], file: Path) -> None:
    """The same set in every image: detections of equal class and score are the same box."""

    def ordered(class_ids: np.ndarray, scores: np.ndarray, boxes_xyxy: np.ndarray) -> tuple[np.ndarray, ...]:
        order = np.lexsort((boxes_xyxy[:, 0].round(2), scores.round(5), class_ids))
        return class_ids[order], scores[order], boxes_xyxy[order]

    with np.load(file) as theirs:
        for i, mine in enumerate(found):
            labels, scores, boxes_xyxy = (theirs[f"{name}{i}"] for name in ("labels", "scores", "boxes"))
            assert len(mine) == len(scores), (len(mine), len(scores))
            pairs = zip(
                ordered(mine.class_ids, mine.scores, mine.boxes_xyxy),
                ordered(labels - 1, scores, boxes_xyxy),
                strict=True,
            )
            for column, other in pairs:
                np.testing.assert_allclose(column, other, rtol=1e-4, atol=1e-3)


def main() -> None:
    """Measure the three regimes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    peer_argument(parser)
    arguments = parser.parse_args()
    one_thread()
    print(machine("numpy", "numba", "torch"))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peer = None
        if arguments.peers is not None:
            peer = stack.enter_context(Peer("benchmarks/peer_detector.py", environment=arguments.peers))
        anchors = scenes.anchors(8732)
        for regime, target in TARGETS.items():
            answers = [scenes.answer(anchors, regime, seed=seed) for seed in range(PICTURES)]
            logits, offsets = (np.concatenate(heads) for heads in zip(*answers, strict=True))
            call = ours(anchors, logits, offsets)
            shifted = np.exp(logits - logits.max(axis=2, keepdims=True))
            candidates = int((shifted[..., 1:] / shifted.sum(axis=2, keepdims=True) > 0.01).sum()) // PICTURES
            calls: dict[str, Callable[[], object]] = {"ours": call}
            if peer is not None:
                file, out = folder / f"{regime}.npz", folder / f"{regime}-found.npz"
                np.savez(file, anchors_cxcywh=anchors, class_logits=logits, box_offsets=offsets)
                peer.ask(way="postprocess", file=str(file), out=str(out))
                assert_equal(call(), out)
                calls["torchvision"] = lambda file=file, peer=peer: Seconds(
                    peer.ask(way="postprocess", file=str(file))["seconds"]
                )
            times = interleaved(calls, repeats=arguments.repeats, warm_up=2)
            kept = sum(map(len, call())) / PICTURES
            print(f"\n{regime}: {candidates} candidates, {kept:.0f} kept an image")
            print(table(times, per="image", count=PICTURES))
            if peer is not None:
                print(f"{ratio(times, 'torchvision', 'ours'):.1f}x torchvision (target {target:g}x)")


if __name__ == "__main__":
    main()
