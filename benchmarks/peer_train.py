"""torchvision's training step for SSD300 and SSDlite320, eager and in float32. Runs in the peers' environment only."""

from __future__ import annotations

import functools
import time
from typing import Any

import torch
from torchvision.models import detection

from benchmarks.peers import serve

CLASSES, BOXES = 21, 3
SIDES = {"ssd300_vgg16": 300, "ssdlite320_mobilenet_v3_large": 320}


@functools.cache
def made(model: str, batch: int, size: int | None) -> tuple[Any, Any, Any, Any]:
    """The network from nothing, its optimizer, and random images with three boxes each."""
    torch.manual_seed(0)
    side = size or SIDES[model]
    network = getattr(detection, model)(weights=None, weights_backbone=None, num_classes=CLASSES).train()
    if size is not None:  # both have a fixed input; a quick try has another
        network.transform.fixed_size, network.transform.min_size = (size, size), (size,)
    images = [torch.rand(3, side, side) for _ in range(batch)]
    targets = []
    for _ in range(batch):
        corners, sides = torch.rand(BOXES, 2) * 0.5, 0.2 + torch.rand(BOXES, 2) * 0.3
        boxes = torch.cat([corners, corners + sides], dim=1) * side
        targets.append({"boxes": boxes, "labels": torch.randint(1, CLASSES, (BOXES,))})
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-7, momentum=0.9, weight_decay=5e-4)
    return network, optimizer, images, targets


def step(request: dict[str, Any]) -> dict[str, Any]:
    """One step, and how long it took."""
    torch.set_num_threads(request["threads"])
    network, optimizer, images, targets = made(request["model"], request["batch"], request.get("size"))
    start = time.perf_counter()
    loss = sum(network(images, targets).values())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return {"seconds": time.perf_counter() - start, "loss": float(loss.detach())}


if __name__ == "__main__":
    serve(step)
