"""The detector that comes with the package: what it is, and that it answers as LiteRT does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import singleshot
from singleshot import weights
from singleshot.errors import DataError
from singleshot.images import read_image
from singleshot.prediction.load import find_weights, load_detector
from singleshot.starts import shipped
from tests.starts.litert import BOX_PX, GOLDEN, LOGIT, OWN, decoded_xyxy

PHOTOS = Path(__file__).parents[2].parent / "shared" / "data" / "photos"
NAMES = (
    *("bicycle", "boot", "laptop", "person", "chair", "cattle", "desk", "cat", "computer mouse", "computer monitor"),
    *("box", "mug", "coffee cup", "stationary bicycle", "table", "bottle", "high heels", "vehicle", "footwear", "dog"),
    *("book", "camera", "car"),
)


@pytest.mark.parametrize("photo", OWN, ids=lambda path: path.stem)
def test_logits_and_boxes_are_those_of_litert(photo: Path) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[photo.name]
    rows, image, detector = golden["anchors"], read_image(photo), load_detector("everyday")
    raw = detector.forward(detector.preprocess([image]))
    assert np.abs(raw.class_logits[0, rows].numpy() - golden["logits"]).max() < LOGIT
    # Boxes through the whole of our decoding and scaling, against MediaPipe's rules and anchors.
    height, width = image.shape[:2]
    full = np.zeros((raw.box_offsets.shape[1], 4))
    full[rows] = golden["encodings"]
    theirs = decoded_xyxy(full, (height, width))
    kept = detector.with_postprocess(score_threshold=0.0, nms_iou=1.0, max_detections=1 << 20)
    (ours,) = kept.postprocess(raw, [(height, width)])
    best = int(np.array(golden["logits"]).max(axis=1).argmax())
    assert np.abs(ours.boxes_xyxy[0] - theirs[rows[best]]).max() < BOX_PX
    assert ours.scores[0] == pytest.approx(1 / (1 + np.exp(-np.array(golden["logits"])[best].max())), abs=1e-4)


def test_it_has_23_classes_a_display_threshold_and_says_where_it_is_from() -> None:
    file = weights.load(find_weights("everyday"))
    assert file.network.config.class_names == NAMES and file.network.config.scores == "sigmoid"
    assert file.network.config.display_threshold == 0.4 and len(file.network.anchors_cxcywh) == 1917
    assert file.provenance["licence"] == "Apache-2.0"
    assert file.provenance["file_sha256"] in (find_weights("everyday").with_name("NOTICE")).read_text(encoding="utf-8")
    assert find_weights("everyday").stat().st_size < 10_100_000
    assert all(parameter.dtype == torch.float32 for parameter in file.network.parameters())


def test_python_and_photographs() -> None:
    model = singleshot.load("everyday")
    cat, motorway = (model.predict(photo) for photo in OWN)
    assert cat.class_names == ("cat",) and set(motorway.class_names) == {"car"} and len(motorway) == 2
    assert min(cat.scores.min(), motorway.scores.min()) >= 0.4


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="no shared/data/photos")
def test_what_is_seen_on_photographs_was_processed() -> None:
    seen = {"astronaut.png": ["person"], "camera.png": ["person"], "chelsea.png": ["cat"], "coffee.png": ["coffee cup"]}
    seen |= {"road1.jpg": ["car"] * 2, "road2.jpg": [], "road5.jpg": ["car"] * 2, "rocket.jpg": []}
    model = singleshot.load("everyday")
    assert {name: list(model.predict(PHOTOS / name).class_names) for name in seen} == seen


def test_a_name_is_a_file_of_the_package_and_others_are_none() -> None:
    assert shipped.find("everyday") == find_weights("everyday") and shipped.find("Everyday") is None


def test_every_file_beside_the_weights_is_named_in_notice() -> None:
    folder = find_weights("everyday").parent
    notice = (folder / "NOTICE").read_text(encoding="utf-8")
    others = {"NOTICE", "__init__.py", "shipped.py"}
    for path in folder.iterdir():
        assert path.name in others or path.is_dir() or path.name in notice, path.name


def test_every_licence_that_notice_names_is_beside_it_and_is_packaged() -> None:
    folder = find_weights("everyday").parent
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert "starts/*" in project["tool"]["setuptools"]["package-data"]["singleshot"]
    assert "src/singleshot/starts/NOTICE" in project["project"]["license-files"]
    licences = set(re.findall(r"LICENSE\.\w+", (folder / "NOTICE").read_text(encoding="utf-8")))
    assert (
        licences
        == {path.name for path in folder.glob("LICENSE.*")}
        == {
            "LICENSE.efficientnet",
            "LICENSE.mediapipe",
            "LICENSE.udacity",
        }
    )
    assert "Apache License" in (folder / "LICENSE.mediapipe").read_text(encoding="utf-8")


def test_predicting_imports_neither_torchs_compiler_nor_compiles_anything() -> None:
    """What a first prediction on a new machine would wait for: 1.4 s of imports, 15 s of compilation."""
    code = f"""
import sys
import singleshot
found = singleshot.load("everyday").predict({str(OWN[0])!r})
assert found.class_names == ("cat",), found
assert not {{"torch._dynamo", "sympy", "numba"}} & {{*sys.modules}}
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": "/dev/null/none", "HOME": "/nonexistent", "XDG_CACHE_HOME": "/none"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_evaluate_scores_it_on_data_with_some_of_its_classes(tmp_path: Path) -> None:
    boxes = {"cat": ("cat", (1, 1, 430, 300)), "motorway": ("car", (541, 197, 640, 258))}
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    for photo in OWN:
        name, corners = boxes[photo.stem]
        shutil.copyfile(photo, tmp_path / "JPEGImages" / photo.name)
        height, width = read_image(photo).shape[:2]
        edges = "".join(
            f"<{tag}>{at}</{tag}>" for tag, at in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        )
        (tmp_path / "Annotations" / f"{photo.stem}.xml").write_text(
            f"<annotation><filename>{photo.name}</filename><size><width>{width}</width><height>{height}</height>"
            f"<depth>3</depth></size><object><name>{name}</name><difficult>0</difficult><bndbox>{edges}</bndbox>"
            "</object></annotation>",
            encoding="utf-8",
        )
    (tmp_path / "ImageSets/Main/test.txt").write_text("cat\nmotorway\n", encoding="utf-8")
    report = singleshot.evaluate("everyday", data=tmp_path, split="test", metric="voc12")
    assert report.ap["cat"] == report.ap["car"] == 1.0 and report.ap["dog"] is None and report.map == 1.0


def test_the_shipped_backbone_is_small_names_its_teacher_and_says_how_it_was_made():
    path = find_weights("residual-fine2")
    assert path.stat().st_size <= 6_000_000
    source = weights.read(path)
    assert isinstance(source, weights.BackboneFile) and source.config.trunk == "residual-fine2"
    assert all(tensor.dtype == torch.float16 for tensor in source.tensors.values() if tensor.is_floating_point())
    origin = source.provenance
    assert (origin["licence"], origin["made_by"]) == ("Apache-2.0", "singleshot pretrain")
    assert [teacher["file_sha256"][:12] for teacher in origin["teachers"]] == ["579344248a93"]
    assert origin["images"] > 2_500 and origin["steps"] > 0 and len(origin["images_sha256"]) == 64


def test_a_backbone_is_refused_for_prediction_with_what_it_is_for():
    with pytest.raises(DataError, match="backbone, not a detector") as caught:
        singleshot.load("residual-fine2")
    assert "train --weights" in caught.value.remedy
