"""torchvision's SSD: its matching and loss, and its postprocessing. Runs in the peers' environment only.

Requests name an .npz file with the arrays of `scenes`; the answer is its CPU time and, where asked, a file with the
results to compare.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import numpy as np
import torch
from torchvision.models.detection import ssd300_vgg16
from torchvision.ops import boxes as box_ops

from benchmarks.peers import serve

SIZE = 300
torch.set_num_threads(1)


@functools.cache
def detector(classes: int) -> Any:
    """An untrained SSD300: only what comes after its network is used."""
    return ssd300_vgg16(weights=None, weights_backbone=None, num_classes=classes + 1).eval()


def corners(boxes_cxcywh: np.ndarray) -> torch.Tensor:
    """Boxes in pixels, as torchvision has them."""
    return box_ops.box_convert(torch.from_numpy(boxes_cxcywh) * SIZE, "cxcywh", "xyxy")


@functools.cache
def loaded(file: str) -> dict[str, np.ndarray]:
    """The arrays of a file, read once."""
    with np.load(file) as arrays:
        return dict(arrays)


def match_loss(request: dict[str, Any]) -> dict[str, Any]:
    """`SSD.forward`'s lines from anchors to losses, then the gradients."""
    arrays = loaded(request["file"])
    logits, offsets = (torch.from_numpy(arrays[name]).requires_grad_() for name in ("class_logits", "box_offsets"))
    model, anchors = detector(logits.shape[2] - 1), [corners(arrays["anchors_cxcywh"])] * len(logits)
    targets = [
        {"boxes": corners(boxes[ids >= 0]), "labels": torch.from_numpy(ids[ids >= 0] + 1)}
        for boxes, ids in zip(arrays["boxes_cxcywh"], arrays["class_ids"], strict=True)
    ]
    start = time.process_time()
    matched = [
        model.proposal_matcher(box_ops.box_iou(target["boxes"], defaults))
        for defaults, target in zip(anchors, targets, strict=True)
    ]
    losses = model.compute_loss(targets, {"bbox_regression": offsets, "cls_logits": logits}, anchors, matched)
    (losses["classification"] + losses["bbox_regression"]).backward()
    seconds = time.process_time() - start
    if "out" in request:
        np.savez(request["out"], class_logits=logits.grad.numpy(), box_offsets=offsets.grad.numpy())
    return {
        "seconds": seconds,
        "classification": losses["classification"].item(),
        "localisation": losses["bbox_regression"].item(),
    }


def postprocess(request: dict[str, Any]) -> dict[str, Any]:
    """`SSD.postprocess_detections` of several images, one after the other; `out` gets what was found in each."""
    arrays = loaded(request["file"])
    logits, offsets = torch.from_numpy(arrays["class_logits"]), torch.from_numpy(arrays["box_offsets"])
    model, anchors = detector(logits.shape[2] - 1), [corners(arrays["anchors_cxcywh"])]
    found = []
    with torch.no_grad():
        start = time.process_time()
        for some_logits, some_offsets in zip(logits.split(1), offsets.split(1), strict=True):
            heads = {"bbox_regression": some_offsets, "cls_logits": some_logits}
            found += model.postprocess_detections(heads, anchors, [(SIZE, SIZE)])
        seconds = time.process_time() - start
    if "out" in request:
        results = {f"{name}{i}": values.numpy() for i, each in enumerate(found) for name, values in each.items()}
        np.savez(request["out"], **results)
    return {"seconds": seconds}


WAYS = {"match_loss": match_loss, "postprocess": postprocess}

if __name__ == "__main__":
    serve(lambda request: WAYS[request["way"]](request))
