"""Matching, both losses and their gradients: a batch of 32 images with 8,732 anchors and 20 classes.

torchvision matches image by image and sorts all anchors twice to mine negatives. Equal answers are asserted
first: both losses and every gradient, by torchvision's rules (each object takes its best anchor, negatives may overlap
an object). What is timed last is the Caffe reference's rules, our default, which torchvision does not have.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers import Peer, peer_argument
from benchmarks.scenes import TrainingBatch, training_batch
from benchmarks.timing import Seconds, interleaved, machine, one_thread, ratio, table
from singleshot.detection.coding import RawDetections
from singleshot.detection.loss import LossConfig, multibox_loss

TARGET = 3.5
TORCHVISION = LossConfig(matching="force-best", negative_iou=None)
CAFFE = LossConfig()


def ours(batch: TrainingBatch, config: LossConfig) -> Callable[[], tuple[dict[str, torch.Tensor], RawDetections]]:
    """A call from anchors and answers to losses and gradients."""
    arrays = {name: torch.from_numpy(array) for name, array in asdict(batch).items()}
    raw = RawDetections(arrays["class_logits"].requires_grad_(), arrays["box_offsets"].requires_grad_())
    anchors, boxes, class_ids = arrays["anchors_cxcywh"], arrays["boxes_cxcywh"], arrays["class_ids"]

    matcher = config.matcher(anchors)

    def step() -> tuple[dict[str, torch.Tensor], RawDetections]:
        raw.class_logits.grad = raw.box_offsets.grad = None
        assignments = matcher.match_batch(boxes, class_ids >= 0)
        parts = multibox_loss(raw, anchors, boxes, class_ids, assignments, config)
        (parts["class"] + parts["box"]).backward()
        return parts, raw

    return step


def assert_equal(peer: Peer, file: Path, batch: TrainingBatch) -> None:
    """Both losses to 1e-5, gradients to 1e-7: in float32, and in pixels there where we have fractions."""
    out = file.with_name("gradients.npz")
    theirs = peer.ask(way="match_loss", file=str(file), out=str(out))
    parts, raw = ours(batch, TORCHVISION)()
    np.testing.assert_allclose(parts["class"].item(), theirs["classification"], rtol=1e-5)
    np.testing.assert_allclose(parts["box"].item(), theirs["localisation"], rtol=1e-5)
    with np.load(out) as gradients:
        for name in ("class_logits", "box_offsets"):
            np.testing.assert_allclose(getattr(raw, name).grad.numpy(), gradients[name], rtol=1e-3, atol=1e-7)


def main() -> None:
    """Measure at 2.5 and at 50 boxes an image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    peer_argument(parser)
    arguments = parser.parse_args()
    one_thread()
    print(machine("numpy", "numba", "torch"))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peer = None
        if arguments.peers is not None:
            peer = stack.enter_context(Peer("benchmarks/peer_detector.py", environment=arguments.peers))
        for mean_boxes in (2.5, 50):
            batch = training_batch(mean_boxes)
            calls: dict[str, Callable[[], object]] = {
                "ours, torchvision's rules": ours(batch, TORCHVISION),
                "ours, Caffe's rules": ours(batch, CAFFE),
            }
            if peer is not None:
                file = folder / f"{mean_boxes}.npz"
                np.savez(file, **asdict(batch))
                assert_equal(peer, file, batch)
                calls["torchvision"] = lambda file=file, peer=peer: Seconds(
                    peer.ask(way="match_loss", file=str(file))["seconds"]
                )
            times = interleaved(calls, repeats=arguments.repeats)
            print(f"\n{mean_boxes:g} boxes an image\n{table(times, per='batch')}")
            if peer is not None:
                for name in list(calls)[:2]:
                    print(f"{name}: {ratio(times, 'torchvision', name):.1f}x torchvision (target {TARGET:g}x)")


if __name__ == "__main__":
    main()
