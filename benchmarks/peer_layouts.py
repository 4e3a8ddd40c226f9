"""The boxes of the tools' exports as globox and datumaro read them, beside ours.

    python benchmarks/peer_layouts.py write FOLDER          in this project's environment: the exports, and our boxes
    python benchmarks/peer_layouts.py globox FOLDER         in one with globox
    python benchmarks/peer_layouts.py datumaro FOLDER       in one with datumaro

The exports are the examples of `tests/data/exports.py`. Each line says whether the peer's boxes (class and four edges)
are ours to a hundredth of a pixel, or what it finds instead. Neither package is a dependency: datumaro wants an older
Pillow and OpenCV.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Box = tuple[str, str, float, float, float, float]
"""Image's stem, class, and the four edges."""


def write(folder: Path) -> None:
    """Write every export, and our boxes of each beside it."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from singleshot.data import read
    from tests.data import exports

    for tool, (layout, export) in exports.EXPORTS.items():
        export(folder / tool)
        pool = read.read_pool(folder / tool, cache=False)
        rows = [
            [sample.image_path.stem, pool.label_map.names[class_id], *box]
            for sample in pool.samples
            for class_id, box in zip(sample.class_ids.tolist(), sample.boxes_xyxy.tolist(), strict=True)
        ]
        (folder / f"{tool}.json").write_text(json.dumps({"layout": layout, "boxes": rows}))


def of_globox(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the tools that globox reads, each with a function that returns its boxes."""
    from globox import AnnotationSet as Set

    names = {"0": "cat", "1": "dog"}
    calls = {
        "labelImg": lambda root: Set.from_pascal_voc(root),
        "images and annotations": lambda root: Set.from_pascal_voc(root / "annotations"),
        "labelImg YOLO": lambda root: Set.from_yolo_darknet(root, image_folder=root),
        "Label Studio YOLO": lambda root: Set.from_yolo_darknet(root / "labels", image_folder=root / "images"),
        "COCO": lambda root: Set.from_coco(root / "annotations" / "instances_train2017.json"),
        "FiftyOne": lambda root: Set.from_coco(root / "labels.json"),
        "labelme": lambda root: Set.from_labelme(root, include_poly=True),
        "CVAT for images 1.1": lambda root: Set.from_cvat(root / "annotations.xml"),
        "Open Images": lambda root: Set.from_openimage(
            root / "train-annotations-bbox.csv", image_folder=root / "train"
        ),
    }
    for tool, call in calls.items():

        def boxes(tool: str = tool, call: Any = call) -> list[Box]:
            found = call(folder / tool)
            pairs = [(Path(each.image_id).stem, box) for each in found for box in each.boxes]
            return [
                (stem, names.get(str(box.label), str(box.label)), box.xmin, box.ymin, box.xmax, box.ymax)
                for stem, box in pairs
            ]

        yield tool, boxes


def of_datumaro(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the tools that datumaro reads, each with a function that returns its boxes."""
    import datumaro

    formats = {
        "Pascal VOC": "voc_detection",
        "Roboflow VOC": "roboflow_voc",
        "CVAT YOLO 1.1": "yolo",
        "COCO": "coco_instances",
        "Roboflow COCO": "roboflow_coco",
        "CVAT COCO 1.0": "coco_instances",
        "CVAT for images 1.1": "cvat",
        "KITTI": "kitti_detection",
    }
    for tool, name in formats.items():

        def boxes(tool: str = tool, name: str = name) -> list[Box]:
            found = datumaro.Dataset.import_from(str(folder / tool), name)
            labels = found.categories()[datumaro.AnnotationType.label]
            return [
                (Path(item.id).name, labels[each.label].name, each.x, each.y, each.x + each.w, each.y + each.h)
                for item in found
                for each in item.annotations
                if each.type == datumaro.AnnotationType.bbox
            ]

        yield tool, boxes


def compare(folder: Path, peer: str) -> None:
    """Print a line for each tool that a peer reads."""
    for tool, boxes in (of_globox if peer == "globox" else of_datumaro)(folder):
        ours = sorted(map(tuple, json.loads((folder / f"{tool}.json").read_text())["boxes"]))
        try:
            theirs = sorted(boxes())
        except Exception as error:  # whatever a peer says of an export is the result
            print(f"{tool:<24} {type(error).__name__}: {' '.join(str(error).split())[:80]}")
            continue
        same = [row[:2] for row in ours] == [row[:2] for row in theirs]
        rows = zip(ours, theirs, strict=False)
        edges = [abs(a - b) for one, other in rows for a, b in zip(one[2:], other[2:], strict=True)]
        largest = max(edges, default=0.0)
        if same and len(ours) == len(theirs) and largest < 0.01:
            print(f"{tool:<24} the same {len(ours)} boxes")
        elif same and len(ours) == len(theirs):
            print(f"{tool:<24} {len(ours)} boxes, edges differ by up to {largest:g} pixels")
        else:
            print(f"{tool:<24} {len(theirs)} boxes and not {len(ours)}: {theirs[:2]}")


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    if what == "write":
        write(where)
    else:
        compare(where, what)
