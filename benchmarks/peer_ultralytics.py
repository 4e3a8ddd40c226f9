"""Ultralytics' smallest newest YOLO, trained from nothing for so many minutes. Runs in the peers' environment only.

AGPL code: it is run there, and neither imported nor copied by this project. Its defaults stay as they are but for the
image size; `time` chooses the number of epochs. Nothing is validated while it trains, which leaves it all the minutes,
and the last weights count: its choice of the best epoch would need images that are not trained on. (It validates once
or twice after the training, on the training images; that does not count.)
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import serve

MODELS = ("yolo26n.yaml", "yolo11n.yaml")


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Train on a YOLO data set, and write what is detected in the test images."""
    out = Path(request["out"])
    os.environ |= {"YOLO_CONFIG_DIR": str(out), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    import ultralytics

    folder = Path(ultralytics.__path__[0]) / "cfg" / "models"
    name = next(name for name in MODELS if any(folder.rglob(name.replace("n.yaml", ".yaml"))))
    sheet = out / "data.yaml"
    names = "".join(f"  {index}: {json.dumps(each)}\n" for index, each in enumerate(request["names"]))
    images = json.dumps(request["train"])
    sheet.write_text(f"train: {images}\nval: {images}\nnames:\n{names}", encoding="utf-8")
    model = ultralytics.YOLO(name)
    times: list[float] = []

    def start(trainer: Any) -> None:
        torch.set_num_threads(request["threads"])  # it sets them itself when it takes the device
        times.append(time.monotonic())

    model.add_callback("on_train_start", start)
    model.add_callback("on_train_batch_end", lambda trainer: times.append(time.monotonic()))
    model.train(
        data=str(sheet),
        time=request["minutes"] / 60,
        imgsz=request["size"],
        seed=request["seed"],
        device="cpu",
        pretrained=False,
        val=False,
        plots=False,
        project=str(out),
        name="train",
        exist_ok=True,
    )
    trained = ultralytics.YOLO(model.trainer.last)
    rows = []
    for file in request["test"]:
        boxes = trained.predict(file, imgsz=request["size"], conf=0.001, device="cpu", verbose=False)[0].boxes
        rows.append(
            {
                "file": file,
                "boxes_xyxy": boxes.xyxy.tolist(),
                "scores": boxes.conf.tolist(),
                "class_ids": boxes.cls.long().tolist(),
            }
        )
    Path(request["found"]).write_text(json.dumps(rows), encoding="utf-8")
    title = f"Ultralytics {ultralytics.__version__}, {name.removesuffix('.yaml')}"
    return {
        "title": title,
        "seconds": times[-1] - times[0],
        "steps": len(times) - 1,
        "batch": int(model.trainer.batch_size),
    }


if __name__ == "__main__":
    serve(work)
