"""LibreYOLO's smallest YOLOv9, trained from nothing for so many minutes. Runs in the peers' environment only.

Its defaults stay as they are but for the image size, and no worker processes, which would be more threads. It knows no
limit of time: an epoch of a network that is thrown away tells how many epochs fit, and its schedule follows these.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import serve


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Train on a YOLO data set, and write what is detected in the test images."""
    import libreyolo

    torch.set_num_threads(request["threads"])
    out = Path(request["out"])
    sheet = out / "data.yaml"
    names = "".join(f"  {index}: {json.dumps(each)}\n" for index, each in enumerate(request["names"]))
    images = json.dumps(request["train"])
    sheet.write_text(f"train: {images}\nval: {images}\nnames:\n{names}", encoding="utf-8")
    durations: list[float] = []

    def train(epochs: int, name: str, **settings: Any) -> Any:
        model = libreyolo.LibreYOLO9(None, size="t", nb_classes=len(request["names"]), device="cpu")
        durations.clear()
        model.train(
            data=str(sheet),
            epochs=epochs,
            imgsz=request["size"],
            seed=request["seed"],
            device="cpu",
            workers=0,
            val=False,
            project=str(out),
            name=name,
            exist_ok=True,
            callbacks=lambda event: durations.append(event.epoch_seconds),
            **settings,
        )
        return model

    train(1, "trial", no_aug_epochs=0)  # with mosaic, as most epochs
    epochs = max(1, round(request["minutes"] * 60 / durations[0]))
    began = time.monotonic()
    model = train(epochs, "train")
    seconds = time.monotonic() - began
    rows = []
    for file in request["test"]:
        boxes = model.predict(file, imgsz=request["size"], conf=0.001, max_det=300).boxes
        class_ids = torch.as_tensor(boxes.cls).long().tolist()
        found = {"boxes_xyxy": torch.as_tensor(boxes.xyxy).tolist(), "scores": torch.as_tensor(boxes.conf).tolist()}
        rows.append({"file": file, **found, "class_ids": class_ids})
    Path(request["found"]).write_text(json.dumps(rows), encoding="utf-8")
    images_seen = epochs * sum(each.is_file() for each in Path(request["train"]).iterdir())
    return {
        "title": f"LibreYOLO {libreyolo.__version__}, YOLOv9-t",
        "seconds": seconds,
        "steps": images_seen // 16,
        "batch": 16,
    }


if __name__ == "__main__":
    serve(work)
