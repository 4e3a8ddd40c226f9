"""Accuracy beside other detectors: the same images, minutes and threads for each, and one judge for all.

    export OMP_NUM_THREADS=1 SINGLESHOT_PEERS=~/peers
    python -m benchmarks.accuracy_peers --data cards --minutes 10 --out runs/peers-cards
    python -m benchmarks.accuracy_peers --data bccd --train-split trainval --minutes 10 --out runs/peers-bccd

A data set is written once as YOLO (`data.convert`), and all train on that copy, one after the other: `singleshot train
--data DIR --val-split none --minutes M` from the shipped backbone, the same from random weights, the other light models
(lite320 from random weights, mobilenetv2-300 from `everyday`), and the peers from random weights, each by its own
recipe (`peer_ultralytics.py`, `peer_ssdlite.py`, `peer_libreyolo.py`) at 320 × 320.
The minutes are those of training by the clock, so nothing else may run on the machine. All images but the test images
are trained on, and the weights at the end count. The peers write what they detect as JSON; AP50, AP75 and AP50:95 are
computed here, as for our own models (`accuracy.py`).

Results stay in `--out/results.json`, and what is there already is not repeated; the Markdown table is kept beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import THRESHOLDS, judged, read, score
from benchmarks.peers import Peer, peer_argument
from benchmarks.timing import machine
from singleshot.data.boxes.writing import items
from singleshot.data.convert import convert
from singleshot.metrics.bootstrap import interval
from singleshot.prediction.load import load_detector
from singleshot.structures import Dataset, Detections, LabelMap

OURS = {
    "ours": [],
    "ours-from-nothing": ["--weights", "none"],
    "ours-lite320": ["--model", "lite320", "--weights", "none"],
    "ours-everyday": ["--weights", "everyday"],
}
PEERS = ("ultralytics", "ssdlite", "libreyolo")
COCO = (
    "Users of these peers usually start from weights trained on COCO, which cannot be had here. Published with such a "
    "start, on GPUs, at other sizes and on other splits of the images: BCCD AP50 0.912 (YOLOv5) and 0.922 (YOLOv7) in "
    "[Roboflow 100](https://github.com/roboflow/roboflow-100-benchmark/blob/main/results.csv), 0.923 (YOLOv5n) at "
    "[keremberke/yolov5n-blood-cell](https://huggingface.co/keremberke/yolov5n-blood-cell)."
)


@dataclass(frozen=True)
class Data:
    """What all train on and are judged by.

    Args:
        folder: the data set as YOLO, with the splits train and test.
        test: the split to judge by, as its own reader found it.
        files: the images of `test` in `folder`, in its order.
    """

    folder: Path
    test: Dataset
    files: list[Path]


def shared_data(train: Dataset, test: Dataset, folder: Path) -> Data:
    """Write both splits as YOLO unless that was done before. Raises what `convert` raises."""
    parts = [replace(train, split="train"), replace(test, split="test")]
    if not (folder / "data.yaml").is_file():
        convert(parts, "yolo", folder)
    names = [item.file_name for item in items(parts, one_folder=False) if item.split == "test"]
    return Data(folder, test, [folder / "images" / "test" / name for name in names])


def read_found(file: Path, images: Sequence[Path], label_map: LabelMap) -> list[Detections]:
    """Return the detections that a peer wrote, image by image.

    Args:
        file: JSON, a list with an object for each image: `file`, `boxes_xyxy` in its pixels, `scores` and `class_ids`.
        images: the images that it was asked for, in that order.
        label_map: the classes; `class_ids` are 0-based.

    Raises ValueError where images are missing or others, or a row is not of that form.
    """
    rows = json.loads(file.read_text(encoding="utf-8"))
    if [row["file"] for row in rows] != [str(image) for image in images]:
        raise ValueError(f"{file}: has {len(rows)} images, not the {len(images)} that were asked for, in their order")
    result = []
    for row in rows:
        boxes_xyxy = np.asarray(row["boxes_xyxy"], np.float32).reshape(-1, 4)
        scores, class_ids = np.asarray(row["scores"], np.float32), np.asarray(row["class_ids"], np.int64)
        if not len(boxes_xyxy) == len(scores) == len(class_ids):
            raise ValueError(f"{file}: {row['file']} has not one score and one class for each box")
        if len(class_ids) and not 0 <= class_ids.min() <= class_ids.max() < len(label_map):
            raise ValueError(f"{file}: {row['file']} has a class that is not one of {len(label_map)}")
        order = np.argsort(-scores, kind="stable")
        boxes_xyxy, scores, class_ids = boxes_xyxy[order], scores[order], class_ids[order]
        result.append(Detections(boxes_xyxy, scores, class_ids, label_map.names_of(class_ids), (1, 1)))
    return result


def train_ours(name: str, data: Data, options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Train by the command that a user types, and return the row of the result."""
    report = out.with_suffix(".json")
    command = [sys.executable, "-m", "singleshot", "train", "--data", str(data.folder), "--val-split", "none"]
    command += ["--minutes", str(options.minutes), "--seed", str(options.seed), "--workers", "0", "--overwrite"]
    command += ["--out", str(out), "--json", str(report), *OURS[name]]
    began = time.monotonic()
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": str(options.threads)})
    seconds = time.monotonic() - began
    facts = json.loads(report.read_text(encoding="utf-8"))
    recipe = json.loads((out / "recipe.json").read_text(encoding="utf-8"))
    figures, drawn = score(load_detector(facts["weights"]), data.test)
    start = {None: "random weights", "everyday": "everyday"}.get(recipe["weights"], "shipped backbone")
    title = f"singleshot {recipe['model']}, {start}"
    row = {"title": title, "seconds": seconds, "steps": facts["steps"], "batch": recipe["batch_size"]}
    return {**row, "figures": figures, "drawn": drawn}


def train_peer(name: str, data: Data, options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Train in the peers' environment, and return the row of the result."""
    out.mkdir(parents=True, exist_ok=True)
    found = (out / "found.json").resolve()
    with Peer(f"benchmarks/peer_{name}.py", environment=options.peers) as peer:
        facts = peer.ask(
            train=str(data.folder / "images" / "train"),
            test=[str(file) for file in data.files],
            names=list(data.test.label_map.names),
            minutes=options.minutes,
            threads=options.threads,
            size=options.size,
            seed=options.seed,
            out=str(out.resolve()),
            found=str(found),
        )
    figures, drawn = judged(read_found(found, data.files, data.test.label_map), data.test)
    return {**facts, "figures": figures, "drawn": drawn}


def processor_seconds() -> float:
    """Return the processor's time in all processes that have ended: much less than the minutes is a machine in use."""
    times = os.times()
    return times.children_user + times.children_system


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines of the result: one a row, and each one's difference to the first with its 95 % interval."""
    lines = ["| | minutes | steps × batch | " + " | ".join(THRESHOLDS) + " | AP50:95 against the first |"]
    lines.append("|---|---|---|" + "---|" * (len(THRESHOLDS) + 1))
    for row in rows:
        cells = [f"{row['figures'][figure]:.3f}" for figure in THRESHOLDS]
        gain = row["figures"]["AP50:95"] - rows[0]["figures"]["AP50:95"]
        bounds = interval(np.subtract(row["drawn"]["AP50:95"], rows[0]["drawn"]["AP50:95"]))
        text = "" if row is rows[0] or bounds is None else f"{gain:+.3f} ({bounds[0]:+.3f} to {bounds[1]:+.3f})"
        steps = f"{row['steps']} × {row['batch']}"
        lines.append(f"| {row['title']} | {row['seconds'] / 60:.1f} | {steps} | {' | '.join(cells)} | {text} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="streets", help="a data folder, or streets")
    parser.add_argument("--train-split", default="train")
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, help="train on so many images, drawn at random, the same for all")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=320, help="side of the peers' square input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[*OURS, *PEERS], choices=[*OURS, *PEERS])
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy-peers"))
    peer_argument(parser)
    options = parser.parse_args(arguments)
    if options.peers is None and set(options.only) & set(PEERS):
        sys.exit("no peer environment: --peers or SINGLESHOT_PEERS names it, benchmarks/README.md says how to make one")
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine("torch"), f"threads {options.threads}", flush=True)
    train, test = read(options.data, options.out, options.train_split, options.split, options.images)
    print(f"{len(train)} images to train on, {len(test)} of {test.split} to judge by", flush=True)
    settings = {name: getattr(options, name) for name in ("data", "train_split", "split", "images")}
    settings |= {name: getattr(options, name) for name in ("minutes", "threads", "size", "seed")}
    store = options.out / "results.json"
    kept = json.loads(store.read_text(encoding="utf-8")) if store.is_file() else {"settings": settings, "rows": {}}
    if kept["settings"] != settings:
        sys.exit(f"{store} was made with other settings: {kept['settings']}. Choose another --out")
    store.write_text(json.dumps(kept) + "\n", encoding="utf-8")
    data = shared_data(train, test, options.out.resolve() / "data")
    for name in options.only:
        if name in kept["rows"]:
            continue
        began = processor_seconds()
        try:
            work = train_ours if name in OURS else train_peer
            row = work(name, data, options, options.out / name)
            row["processor_seconds"] = processor_seconds() - began
        except (
            SystemExit,
            subprocess.CalledProcessError,
        ) as failure:
            # The others are worth their minutes all the same.
            print(f"{name} failed: {failure}", flush=True)
            continue
        kept["rows"][name] = row
        store.write_text(json.dumps(kept) + "\n", encoding="utf-8")
        shown = ", ".join(f"{key} {value:.3f}" for key, value in row["figures"].items())
        taken = f"{row['seconds']:.0f} s, of the processor with start and end {row['processor_seconds']:.0f} s"
        print(f"{row['title']}: {row['steps']} steps of {row['batch']}, {shown} ({taken})", flush=True)
    rows = [kept["rows"][name] for name in (*OURS, *PEERS) if name in kept["rows"]]
    if rows:
        text = "\n".join([*table(rows), "", COCO])
        (options.out / "table.md").write_text(text + "\n", encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
