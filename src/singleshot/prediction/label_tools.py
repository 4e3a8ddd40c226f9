"""Detections as files that annotation tools open, for a person to correct: labelme, Label Studio and CVAT.

    labelme/NAME.json       labelme: a file per image, with rectangles      `labelme images/ --output OUT/labelme`
    labelstudio/tasks.json  Label Studio: tasks with predictions, and `labelstudio/config.xml`, the labelling interface
    cvat.xml                CVAT for images 1.1: "Upload annotations" of a task with these images

Formats: labelme's `LabelFile.save`; labelstud.io, "Import pre-annotated data" and "RectangleLabels"; docs.cvat.ai, "XML
annotation format". What comes back from the tools is read as layouts `labelme`, `label_studio` and `cvat`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from singleshot.structures import Detections

LABELME_VERSION = "5.5.0"
"""labelme warns where the first part of it is not its own."""


def labelme_json(found: Detections, image: Path, file: Path) -> str:
    """Return the content of a labelme file.

    Args:
        found: the detections, inside the image.
        image: the image file, which labelme opens by its path relative to `file`.
        file: where the content will be written.
    """
    rows = zip(found.boxes_xyxy.tolist(), found.class_names, found.scores.tolist(), strict=True)
    shapes = [
        {
            "label": str(name),
            "points": [[x1, y1], [x2, y2]],
            "group_id": None,
            "description": f"score {score:.3f}",
            "shape_type": "rectangle",
            "flags": {},
        }
        for (x1, y1, x2, y2), name, score in rows
    ]
    height, width = found.size_hw
    content = {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": Path(os.path.relpath(image, file.parent)).as_posix(),
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def label_studio_task(found: Detections, image: str, model: str) -> dict[str, Any]:
    """Return a Label Studio task with the detections as its prediction, in per cent of the image.

    Args:
        found: the detections, inside the image.
        image: its path below the folder that Label Studio's local storage serves.
        model: name of the model, shown beside the prediction.
    """
    height, width = found.size_hw
    rows = zip(found.boxes_xyxy.tolist(), found.class_names, found.scores.tolist(), strict=True)
    regions = [
        {
            "id": f"box{number}",
            "from_name": "label",
            "to_name": "image",
            "type": "rectanglelabels",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": score,
            "value": {
                "x": 100 * x1 / width,
                "y": 100 * y1 / height,
                "width": 100 * (x2 - x1) / width,
                "height": 100 * (y2 - y1) / height,
                "rotation": 0,
                "rectanglelabels": [str(name)],
            },
        }
        for number, ((x1, y1, x2, y2), name, score) in enumerate(rows)
    ]
    mean = sum(region["score"] for region in regions) / len(regions) if regions else 0.0
    data = {"image": f"/data/local-files/?d={quote(image.lstrip('/'))}"}
    return {"data": data, "predictions": [{"model_version": model, "score": mean, "result": regions}]}


def label_studio_config(class_names: Sequence[str]) -> str:
    """Return the labelling interface that the tasks are for."""
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in class_names)
    return (
        '<View>\n  <Image name="image" value="$image"/>\n  <RectangleLabels name="label" toName="image">\n'
        f"{labels}  </RectangleLabels>\n</View>\n"
    )


def cvat_head(class_names: Sequence[str]) -> str:
    """Return the beginning of a CVAT file, up to the first image; the end is `</annotations>`."""
    spaces = {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
    labels = "".join(f"        <label><name>{escape(name, spaces)}</name></label>\n" for name in class_names)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
        f"      <labels>\n{labels}      </labels>\n    </task>\n  </meta>\n"
    )


def cvat_image(found: Detections, number: int, name: str) -> str:
    """Return the element of an image in a CVAT file.

    Args:
        found: the detections, inside the image.
        number: of the image in the file, from 0.
        name: of the image in the task.
    """
    height, width = found.size_hw
    rows = zip(found.boxes_xyxy.tolist(), found.class_names, strict=True)
    lines = [
        f'    <box label={quoteattr(str(label))} source="auto" occluded="0" xtl="{x1:.2f}" ytl="{y1:.2f}" '
        f'xbr="{x2:.2f}" ybr="{y2:.2f}" z_order="0"></box>\n'
        for (x1, y1, x2, y2), label in rows
    ]
    head = f'  <image id="{number}" name={quoteattr(name)} width="{width}" height="{height}">\n'
    return f"{head}{''.join(lines)}  </image>\n"
