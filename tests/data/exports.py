"""A small export of every tool in its own layout: the same three images with the same boxes in each.

Images are 60×40: `a` with a cat at (10, 5, 50, 40) and a dog at (0, 10, 20, 30), `b` with a dog at (20, 10, 40, 30),
`c` with nothing (missing in layouts whose images are there by their annotations alone). Names of files and fields,
their order, and what the tools write beside what is needed are as in exports of the tools named in each function.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Box = tuple[str, int, int, int, int]
BOXES: Mapping[str, tuple[Box, ...]] = {
    "a": (("cat", 10, 5, 50, 40), ("dog", 0, 10, 20, 30)),
    "b": (("dog", 20, 10, 40, 30),),
    "c": (),
}
SPLIT = {"a": "train", "b": "train", "c": "train"}
Export = Callable[[Path], None]


def image(path: Path, size_wh: tuple[int, int] = (60, 40)) -> Path:
    """Write an image that looks like no other one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(path.stem.encode(), "big")
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size_wh, Image.Resampling.BICUBIC).save(path, quality=95)
    return path


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def images(folder: Path, stems: str = "abc", suffix: str = ".jpg") -> None:
    for stem in stems:
        image(folder / f"{stem}{suffix}")


# ---- XML


def voc_xml(stem: str, folder: str = "JPEGImages") -> str:
    """As labelImg 1.8.6 and Roboflow write it: 1-based corners, the author's own path."""
    objects = "".join(
        f"\t<object>\n\t\t<name>{name}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n"
        f"\t\t<difficult>0</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>{x1 + 1}</xmin>\n\t\t\t<ymin>{y1 + 1}</ymin>\n"
        f"\t\t\t<xmax>{x2}</xmax>\n\t\t\t<ymax>{y2}</ymax>\n\t\t</bndbox>\n\t</object>\n"
        for name, x1, y1, x2, y2 in BOXES[stem]
    )
    return (
        f"<annotation>\n\t<folder>{folder}</folder>\n\t<filename>{stem}.jpg</filename>\n"
        f"\t<path>C:\\Users\\me\\{stem}.jpg</path>\n\t<source>\n\t\t<database>Unknown</database>\n\t</source>\n"
        f"\t<size>\n\t\t<width>60</width>\n\t\t<height>40</height>\n\t\t<depth>3</depth>\n\t</size>\n"
        f"\t<segmented>0</segmented>\n{objects}</annotation>\n"
    )


def voc(root: Path) -> None:
    images(root / "JPEGImages")
    for stem in BOXES:
        text(root / "Annotations" / f"{stem}.xml", voc_xml(stem))
    text(root / "ImageSets" / "Main" / "train.txt", "a\nb\nc\n")


def labelimg(root: Path) -> None:
    images(root)
    for stem in BOXES:
        text(root / f"{stem}.xml", voc_xml(stem))


def roboflow_voc(root: Path) -> None:
    """A file README.roboflow.txt beside the splits, images and XML together."""
    images(root / "train")
    text(root / "README.roboflow.txt", "\nexported\n")
    for stem in BOXES:
        text(root / "train" / f"{stem}.xml", voc_xml(stem, ""))


def two_folders(root: Path) -> None:
    """`images/` beside `annotations/`, as the mask and fruit data sets of many tutorials."""
    images(root / "images")
    for stem in BOXES:
        text(root / "annotations" / f"{stem}.xml", voc_xml(stem, "images"))


def voc_without_lists(root: Path) -> None:
    images(root / "JPEGImages")
    for stem in BOXES:
        text(root / "Annotations" / f"{stem}.xml", voc_xml(stem))


# ---- YOLO


def yolo_lines(stem: str) -> str:
    return "".join(
        f"{('cat', 'dog').index(name)} {(x1 + x2) / 120:.6f} {(y1 + y2) / 80:.6f} {(x2 - x1) / 60:.6f} "
        f"{(y2 - y1) / 40:.6f}\n"
        for name, x1, y1, x2, y2 in BOXES[stem]
    )


def yolo_yaml(root: Path) -> None:
    """Roboflow's YOLOv8: paths of the folder's parent."""
    images(root / "train" / "images")
    for stem in BOXES:
        text(root / "train" / "labels" / f"{stem}.txt", yolo_lines(stem))
    text(root / "data.yaml", "train: ../train/images\n\nnc: 2\nnames: ['cat', 'dog']\n")


def cvat_yolo(root: Path) -> None:
    """CVAT's YOLO 1.1."""
    images(root / "obj_train_data")
    for stem in BOXES:
        text(root / "obj_train_data" / f"{stem}.txt", yolo_lines(stem))
    text(root / "obj.names", "cat\ndog\n")
    text(root / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    text(root / "train.txt", "".join(f"data/obj_train_data/{stem}.jpg\n" for stem in BOXES))


def label_studio_yolo(root: Path) -> None:
    images(root / "images")
    for stem in BOXES:
        text(root / "labels" / f"{stem}.txt", yolo_lines(stem))
    text(root / "classes.txt", "cat\ndog\n")
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    text(root / "notes.json", json.dumps({"categories": categories, "info": {"year": 2025, "version": "1.0"}}))


def labelimg_yolo(root: Path) -> None:
    images(root)
    for stem in BOXES:
        text(root / f"{stem}.txt", yolo_lines(stem))
    text(root / "classes.txt", "cat\ndog\n")


def roboflow_darknet(root: Path) -> None:
    images(root / "train")
    for stem in BOXES:
        text(root / "train" / f"{stem}.txt", yolo_lines(stem))
    text(root / "train" / "_darknet.labels", "cat\ndog")


# ---- COCO


def coco_json(prefix: str = "", first: int = 1) -> str:
    stems = list(BOXES)
    annotations: list[dict[str, Any]] = []
    for number, stem in enumerate(stems, start=first):
        for name, x1, y1, x2, y2 in BOXES[stem]:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": ("cat", "dog").index(name) + 1,
                    "segmentation": [],
                    "area": float((x2 - x1) * (y2 - y1)),
                    "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                    "iscrowd": 0,
                }
            )
    rows = [
        {"id": number, "width": 60, "height": 40, "file_name": f"{prefix}{stem}.jpg", "license": 0}
        for number, stem in enumerate(stems, start=first)
    ]
    categories = [{"id": number, "name": name, "supercategory": ""} for number, name in ((1, "cat"), (2, "dog"))]
    return json.dumps(
        {"licenses": [], "info": {}, "categories": categories, "images": rows, "annotations": annotations}
    )


def coco(root: Path) -> None:
    images(root / "train2017")
    text(root / "annotations" / "instances_train2017.json", coco_json())


def roboflow_coco(root: Path) -> None:
    images(root / "train")
    text(root / "train" / "_annotations.coco.json", coco_json(first=0))


def cvat_coco(root: Path) -> None:
    images(root / "images")
    text(root / "annotations" / "instances_default.json", coco_json())


def fiftyone(root: Path) -> None:
    images(root / "data")
    text(root / "labels.json", coco_json())


def label_studio_coco(root: Path) -> None:
    images(root / "images")
    text(root / "result.json", coco_json("images/", first=0))


# ---- Others


def labelme(root: Path) -> None:
    """labelme 5.4: a rectangle and a polygon, with an image inside that is not decoded."""
    images(root)
    for stem, boxes in BOXES.items():
        shapes = [
            {
                "label": name,
                "points": [[x1, y1], [x2, y2]] if name == "cat" else [[x1, y1], [x2, y1], [x2, y2], [x1, y2]],
                "group_id": None,
                "description": "",
                "shape_type": "rectangle" if name == "cat" else "polygon",
                "flags": {},
                "mask": None,
            }
            for name, x1, y1, x2, y2 in boxes
        ]
        content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"{stem}.jpg", "imageData": "/9j/4"}
        text(root / f"{stem}.json", json.dumps(content | {"imageHeight": 40, "imageWidth": 60}, indent=2))


def cvat(root: Path) -> None:
    """CVAT for images 1.1 of a project with a subset (cvat/apps/dataset_manager/formats/cvat.py)."""
    images(root / "images" / "train")
    rows = []
    for number, (stem, boxes) in enumerate(BOXES.items()):
        shapes = "".join(
            f'    <box label="{name}" source="manual" occluded="0" xtl="{x1}.00" ytl="{y1}.00" xbr="{x2}.00" '
            f'ybr="{y2}.00" z_order="0">\n    </box>\n'
            for name, x1, y1, x2, y2 in boxes
        )
        rows.append(
            f'  <image id="{number}" name="{stem}.jpg" subset="train" task_id="7" width="60" height="40">\n'
            f"{shapes}  </image>\n"
        )
    labels = "".join(
        f"        <label>\n          <name>{name}</name>\n          <color>#fa3253</color>\n"
        "          <type>any</type>\n          <attributes>\n          </attributes>\n        </label>\n"
        for name in ("cat", "dog")
    )
    text(
        root / "annotations.xml",
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <project>\n'
        f"      <id>3</id>\n      <name>pets</name>\n      <labels>\n{labels}      </labels>\n    </project>\n"
        f"    <dumped>2025-05-02 08:11:43.000000+00:00</dumped>\n  </meta>\n{''.join(rows)}</annotations>\n",
    )


def label_studio(root: Path) -> None:
    """Label Studio 1.19: uploaded images, whose names have a prefix of the server."""
    tasks = []
    for number, (stem, boxes) in enumerate(BOXES.items(), start=11):
        image(root / "images" / f"0f3a9c1e-{stem}.jpg")
        result = [
            {
                "original_width": 60,
                "original_height": 40,
                "image_rotation": 0,
                "value": {
                    "x": x1 / 0.6,
                    "y": y1 / 0.4,
                    "width": (x2 - x1) / 0.6,
                    "height": (y2 - y1) / 0.4,
                    "rotation": 0,
                    "rectanglelabels": [name],
                },
                "id": f"r{number}{index}",
                "from_name": "label",
                "to_name": "image",
                "type": "rectanglelabels",
                "origin": "manual",
            }
            for index, (name, x1, y1, x2, y2) in enumerate(boxes)
        ]
        annotation = {"id": number, "completed_by": 1, "result": result, "was_cancelled": False, "ground_truth": False}
        tasks.append(
            {
                "id": number,
                "annotations": [annotation],
                "file_upload": f"0f3a9c1e-{stem}.jpg",
                "drafts": [],
                "predictions": [],
                "data": {"image": f"/data/upload/1/0f3a9c1e-{stem}.jpg"},
                "meta": {},
                "inner_id": number - 10,
                "project": 1,
            }
        )
    text(root / "project-1-at-2025-05-02-08-11-1a2b3c4d.json", json.dumps(tasks))


def _via_regions(stem: str) -> list[dict[str, Any]]:
    return [
        {
            "shape_attributes": {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1},
            "region_attributes": {"type": name},
        }
        for name, x1, y1, x2, y2 in BOXES[stem]
    ]


def via(root: Path) -> None:
    """A project of VIA 2.0.12."""
    images(root)
    sizes = {stem: (root / f"{stem}.jpg").stat().st_size for stem in BOXES}
    table = {
        f"{stem}.jpg{size}": {
            "filename": f"{stem}.jpg",
            "size": size,
            "regions": _via_regions(stem),
            "file_attributes": {},
        }
        for stem, size in sizes.items()
    }
    attributes = {"type": {"type": "dropdown", "description": "", "options": {"cat": "", "dog": ""}}}
    project = {
        "_via_settings": {"project": {"name": "via_project_2May2025"}},
        "_via_img_metadata": table,
        "_via_attributes": {"region": attributes, "file": {}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": list(table),
    }
    text(root / "via_project_2May2025.json", json.dumps(project))


def via_csv(root: Path) -> None:
    """The CSV export of VIA 2: an image without regions has a line with two empty objects."""
    images(root)
    stream = io.StringIO()
    writer = csv.writer(stream)
    header = ("filename", "file_size", "file_attributes", "region_count", "region_id")
    writer.writerow([*header, "region_shape_attributes", "region_attributes"])
    for stem in BOXES:
        size, regions = (root / f"{stem}.jpg").stat().st_size, _via_regions(stem)
        for index, region in enumerate(regions):
            tables = (json.dumps(region["shape_attributes"]), json.dumps(region["region_attributes"]))
            writer.writerow([f"{stem}.jpg", size, "{}", len(regions), index, *tables])
        if not regions:
            writer.writerow([f"{stem}.jpg", size, "{}", 0, 0, "{}", "{}"])
    text(root / "via_export_csv.csv", stream.getvalue())


def imagefolder(root: Path) -> None:
    """`metadata.jsonl` in a split's folder, and the names of the categories in the card."""
    images(root / "train")
    lines = []
    for stem, boxes in BOXES.items():
        bbox = [[float(x1), float(y1), float(x2 - x1), float(y2 - y1)] for _, x1, y1, x2, y2 in boxes]
        categories = [("cat", "dog").index(name) for name, *_ in boxes]
        lines.append(json.dumps({"file_name": f"{stem}.jpg", "objects": {"bbox": bbox, "categories": categories}}))
    text(root / "train" / "metadata.jsonl", "\n".join(lines) + "\n")
    text(
        root / "README.md",
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: objects\n    sequence:\n"
        "    - name: bbox\n      sequence: float32\n      length: 4\n    - name: categories\n      dtype:\n"
        "        class_label:\n          names:\n            '0': cat\n            '1': dog\n---\n\n# Pets\n",
    )


def imagefolder_csv(root: Path) -> None:
    images(root / "train")
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["file_name", "objects"])
    for stem, boxes in BOXES.items():
        bbox = [[x1, y1, x2 - x1, y2 - y1] for _, x1, y1, x2, y2 in boxes]
        row = {"bbox": bbox, "categories": [name for name, *_ in boxes]}
        writer.writerow([f"train/{stem}.jpg", json.dumps(row)])
    text(root / "metadata.csv", stream.getvalue())


def tensorflow_csv(root: Path) -> None:
    """`xml_to_csv.py` of the tutorials: a line an object, with the corners of the XML."""
    images(root / "train", "ab")
    rows = [
        f"{stem}.jpg,60,40,{name},{x1 + 1},{y1 + 1},{x2},{y2}\n"
        for stem, boxes in BOXES.items()
        for name, x1, y1, x2, y2 in boxes
    ]
    text(root / "train_labels.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\n" + "".join(rows))


def open_images(root: Path) -> None:
    images(root / "train", "ab")
    rows = [
        f"{stem},xclick,{name},1,{x1 / 60:.6f},{x2 / 60:.6f},{y1 / 40:.6f},{y2 / 40:.6f},0,0,0,0,0\n"
        for stem, boxes in BOXES.items()
        for name, x1, y1, x2, y2 in boxes
    ]
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,"
    text(root / "train-annotations-bbox.csv", f"{header}IsInside\n{''.join(rows)}")


def kitti(root: Path) -> None:
    images(root / "training" / "image_2", suffix=".png")
    for stem, boxes in BOXES.items():
        lines = [
            f"{name} 0.00 0 -1.58 {x1}.00 {y1}.00 {x2}.00 {y2}.00 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n"
            for name, x1, y1, x2, y2 in boxes
        ]
        text(root / "training" / "label_2" / f"{stem}.txt", "".join(lines))


EXPORTS: dict[str, tuple[str, Export]] = {
    "Pascal VOC": ("voc", voc),
    "labelImg": ("voc_xml", labelimg),
    "Roboflow VOC": ("voc_xml", roboflow_voc),
    "images and annotations": ("voc_xml", two_folders),
    "VOC without ImageSets": ("voc_xml", voc_without_lists),
    "Roboflow YOLOv8": ("yolo", yolo_yaml),
    "CVAT YOLO 1.1": ("yolo", cvat_yolo),
    "Label Studio YOLO": ("yolo", label_studio_yolo),
    "labelImg YOLO": ("yolo", labelimg_yolo),
    "Roboflow Darknet": ("yolo", roboflow_darknet),
    "COCO": ("coco", coco),
    "Roboflow COCO": ("coco", roboflow_coco),
    "CVAT COCO 1.0": ("coco", cvat_coco),
    "FiftyOne": ("coco", fiftyone),
    "Label Studio COCO": ("coco", label_studio_coco),
    "labelme": ("labelme", labelme),
    "CVAT for images 1.1": ("cvat", cvat),
    "Label Studio JSON": ("label_studio", label_studio),
    "VIA": ("via", via),
    "VIA CSV": ("via", via_csv),
    "imagefolder": ("imagefolder", imagefolder),
    "imagefolder CSV": ("imagefolder", imagefolder_csv),
    "TensorFlow CSV": ("csv", tensorflow_csv),
    "Open Images": ("csv", open_images),
    "KITTI": ("kitti_objects", kitti),
}
"""By tool: the layout that its export is taken for, and what writes it into an empty folder."""


# ---- Masks: on each image a `cat` in the left half but for its upper left quarter, which is `dog`

MASK = np.zeros((40, 60), np.uint8)
MASK[:, :30] = 1
MASK[:20, :15] = 2
MASK_NAMES = ("background", "cat", "dog")
MASK_COLOURS = ((0, 0, 0), (250, 50, 83), (36, 179, 83))


def mask(path: Path, numbers: np.ndarray = MASK, palette: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(numbers)
    if palette is not None:
        picture.putpalette([value for colour in palette for value in colour])
    picture.save(path)


def cvat_masks(root: Path) -> None:
    """CVAT's Segmentation mask 1.1: colours of `labelmap.txt`, in RGB."""
    images(root / "JPEGImages")
    for stem in BOXES:
        mask(root / "SegmentationClass" / f"{stem}.png", np.array(MASK_COLOURS, np.uint8)[MASK])
    rows = "".join(f"{name}:{','.join(map(str, rgb))}::\n" for name, rgb in zip(MASK_NAMES, MASK_COLOURS, strict=True))
    text(root / "labelmap.txt", f"# label:color_rgb:parts:actions\n{rows}")
    text(root / "ImageSets" / "Segmentation" / "train.txt", "a\nb\nc\n")


def cvat_palette_masks(root: Path) -> None:
    """The same with palettes, whose numbers are in another order than the lines."""
    cvat_masks(root)
    order = np.array([2, 0, 1], np.uint8)  # a class's number in the palette
    colours = [MASK_COLOURS[order.tolist().index(number)] for number in range(3)]
    for stem in BOXES:
        mask(root / "SegmentationClass" / f"{stem}.png", order[MASK], colours)


def roboflow_masks(root: Path) -> None:
    for stem in BOXES:
        image(root / "train" / f"{stem}_jpg.rf.0a1b2c.jpg")
        mask(root / "train" / f"{stem}_jpg.rf.0a1b2c_mask.png")
    text(root / "train" / "_classes.csv", "Pixel Value, Class\n0, background\n1, cat\n2, dog\n")


def mmseg(root: Path) -> None:
    images(root / "img_dir" / "train")
    for stem in BOXES:
        mask(root / "ann_dir" / "train" / f"{stem}.png")
    text(root / "classes.txt", "background\ncat\ndog\n")


def labelme_masks(root: Path) -> None:
    images(root)
    left, quarter = [[0, 0], [30, 0], [30, 40], [0, 40]], [[0, 0], [15, 20]]
    shapes = [("cat", left, "polygon"), ("dog", quarter, "rectangle")]
    rows = [{"label": name, "points": points, "shape_type": kind, "flags": {}} for name, points, kind in shapes]
    for stem in BOXES:
        content = {"version": "5.4.1", "flags": {}, "shapes": rows, "imagePath": f"{stem}.jpg", "imageData": None}
        text(root / f"{stem}.json", json.dumps(content | {"imageHeight": 40, "imageWidth": 60}))


MASK_EXPORTS: dict[str, tuple[str, Export]] = {
    "CVAT Segmentation mask 1.1": ("masks", cvat_masks),
    "CVAT with palettes": ("masks", cvat_palette_masks),
    "Roboflow masks": ("roboflow_masks", roboflow_masks),
    "mmsegmentation": ("masks", mmseg),
    "labelme outlines": ("labelme_masks", labelme_masks),
}
"""By tool: the layout that its masks are taken for, and what writes them into an empty folder."""
