"""torchvision's SSD detectors, the whole call on a decoded frame. Runs in the peers' environment only."""

from __future__ import annotations

import functools
import time
from typing import Any

import numpy as np
import torch
from torchvision.models.detection import ssd300_vgg16, ssdlite320_mobilenet_v3_large

from benchmarks.peers import serve

MAKERS = {"vgg300": ssd300_vgg16, "lite320": ssdlite320_mobilenet_v3_large}


@functools.cache
def detector(name: str, classes: int) -> Any:
    """An untrained detector: its time is that of a trained one that finds little."""
    torch.manual_seed(0)
    return MAKERS[name](weights=None, weights_backbone=None, num_classes=classes + 1).eval()


@functools.cache
def frame(file: str) -> np.ndarray:
    """The image, decoded once."""
    return np.load(file)


def predict(request: dict[str, Any]) -> dict[str, Any]:
    """Seconds from an (H, W, 3) uint8 array to boxes on the host, as torchvision's own example goes."""
    torch.set_num_threads(request["threads"])
    model, image = detector(request["model"], request["classes"]), frame(request["file"])
    with torch.inference_mode():
        start = time.perf_counter()
        tensor = torch.from_numpy(image).permute(2, 0, 1).float().div_(255)
        found = model([tensor])[0]
        boxes = found["boxes"].numpy()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "found": len(boxes)}


if __name__ == "__main__":
    serve(predict)
