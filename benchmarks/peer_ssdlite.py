"""torchvision's ssdlite320, trained from nothing for so many minutes. Runs in the peers' environment only.

Its reference recipe: SGD with momentum 0.9 and weight decay 4e-5, learning rate 0.15 for 8 × 24 images and here in
proportion to the batch, warm-up in the first epoch, a cosine afterwards, random crops by IoU and mirroring. The cosine
follows the minutes, where the recipe has 660 epochs of COCO.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.transforms import v2

from benchmarks.peers import serve

BATCH, RATE, RATE_BATCH = 24, 0.15, 8 * 24
WARM_UP = 1000


class Yolo(Dataset):
    """The images of a folder `images/…` with boxes in text files of the same name in `labels/…`."""

    def __init__(self, folder: str) -> None:
        self.files = sorted(each for each in Path(folder).iterdir() if each.is_file())
        parts = Path(folder).parts
        place = max(index for index, part in enumerate(parts) if part == "images")
        self.labels = Path(*parts[:place], "labels", *parts[place + 1 :])
        self.transform = v2.Compose(
            [
                v2.RandomIoUCrop(),
                v2.RandomHorizontalFlip(0.5),
                v2.SanitizeBoundingBoxes(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        image = read_image(self.files[index])
        height, width = image.shape[-2:]
        text = (self.labels / self.files[index].name).with_suffix(".txt")
        rows = [list(map(float, line.split())) for line in text.read_text().splitlines()] if text.exists() else []
        table = torch.tensor(rows).reshape(-1, 5)
        centres, sides = table[:, 1:3], table[:, 3:5]
        corners = torch.cat([centres - sides / 2, centres + sides / 2], dim=1) * torch.tensor([width, height] * 2)
        boxes = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(height, width))  # type: ignore[reportCallIssue]
        return self.transform(image, {"boxes": boxes, "labels": table[:, 0].long() + 1})


def read_image(file: str | Path) -> Any:
    """Return an image as (3, H, W) uint8, upright."""
    with Image.open(file) as image:
        return v2.functional.to_image(ImageOps.exif_transpose(image).convert("RGB"))


def train(request: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the network after so many minutes, and how it was trained."""
    data = Yolo(request["train"])
    network = ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=len(request["names"]) + 1
    ).train()
    batch = min(BATCH, len(data))
    loader = DataLoader(data, batch, shuffle=True, drop_last=True, collate_fn=lambda pairs: tuple(zip(*pairs)))  # noqa: B905
    rate = RATE * batch / RATE_BATCH
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=4e-5)
    warm_up = min(WARM_UP, len(loader) - 1)
    began, limit, steps = time.monotonic(), request["minutes"] * 60, 0
    while True:
        for images, targets in loader:
            elapsed = time.monotonic() - began
            if elapsed >= limit:
                return network.eval(), {"seconds": elapsed, "steps": steps, "batch": batch}
            warmth = 1.0 if steps >= warm_up else 1e-3 + (1 - 1e-3) * steps / warm_up
            for group in optimizer.param_groups:
                group["lr"] = rate * warmth * 0.5 * (1 + math.cos(math.pi * elapsed / limit))
            loss: Any = sum(network(list(images), list(targets)).values())
            if not torch.isfinite(loss):
                raise SystemExit(f"the loss is {float(loss)} after {steps} steps")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Train on a YOLO data set, and write what is detected in the test images."""
    torch.set_num_threads(request["threads"])
    torch.manual_seed(request["seed"])
    network, facts = train(request)
    rows = []
    with torch.inference_mode():
        for file in request["test"]:
            found = network([read_image(file).float() / 255])[0]
            class_ids = (found["labels"] - 1).tolist()
            boxes, scores = found["boxes"].tolist(), found["scores"].tolist()
            rows.append({"file": file, "boxes_xyxy": boxes, "scores": scores, "class_ids": class_ids})
    Path(request["found"]).write_text(json.dumps(rows), encoding="utf-8")
    return {"title": f"torchvision {torchvision.__version__.partition('+')[0]}, ssdlite320", **facts}


if __name__ == "__main__":
    serve(work)
