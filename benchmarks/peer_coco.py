"""COCO's evaluation by pycocotools and by faster-coco-eval. Runs in the peers' environment only."""

from __future__ import annotations

import contextlib
import io
import time
from typing import Any

import numpy as np

from benchmarks.peers import serve


def package(way: str) -> tuple[Any, Any]:
    """The two classes that every such package has."""
    if way == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    from faster_coco_eval import COCO, COCOeval_faster

    return COCO, COCOeval_faster


def records(table: np.ndarray, *names: str) -> list[dict[str, Any]]:
    """Rows of image, class, x, y, width, height and what `names` say, as COCO's dictionaries."""
    return [
        {"id": number, "image_id": int(row[0]), "category_id": int(row[1]), "bbox": row[2:6]}
        | dict(zip(names, row[6:], strict=True))
        for number, row in enumerate(table.tolist(), start=1)
    ]


def work(request: dict[str, Any]) -> dict[str, Any]:
    """The twelve figures, with CPU and wall seconds from arrays to figures, conversion included as ours is."""
    coco_class, eval_class = package(request["way"])
    with np.load(request["file"]) as arrays:
        truths, found, images, classes = (arrays[name] for name in ("truths", "found", "images", "classes"))
    with contextlib.redirect_stdout(io.StringIO()):
        start, wall = time.process_time(), time.perf_counter()
        there = coco_class()
        there.dataset = {
            "images": [{"id": number} for number in range(int(images))],
            "categories": [{"id": number, "name": str(number)} for number in range(int(classes))],
            "annotations": records(truths, "iscrowd", "area"),
        }
        there.createIndex()
        run = eval_class(there, there.loadRes(records(found, "score")), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
        seconds, wall = time.process_time() - start, time.perf_counter() - wall
    return {"seconds": seconds, "wall_s": wall, "figures": [float(figure) for figure in run.stats[:12]]}


if __name__ == "__main__":
    serve(work)
