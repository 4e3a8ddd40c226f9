from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from singleshot.prediction.load import load
from singleshot.prediction.predictor import Segmenter
from singleshot.segmentation.fcn import FCN, config_for
from singleshot.serve.messages import PredictRequest
from singleshot.serve.upload_model import UploadModel
from singleshot.starts.shipped import real_images
from tests.serve.conftest import jpeg


@pytest.fixture(scope="module")
def model(weights_file: Path) -> UploadModel:
    return UploadModel.open(weights_file, max_pixels=1_000_000, batch_size=2)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def small(mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (20, 10))


BAD = {
    "empty": (b"", 422, "empty-file"),
    "html": (b"<!doctype html><p>404", 422, "not-a-picture"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 422, "not-a-picture"),
    "pdf": (b"%PDF-1.7", 422, "not-a-picture"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", 422, "not-a-picture"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(20), 415, "unsupported-picture"),
    "cut": (jpeg()[: len(jpeg()) // 2], 422, "truncated-picture"),
    "bomb": (png_header(20_000, 20_000), 422, "too-large-picture"),
    "above our own cap": (png_header(1_001, 1_000), 422, "too-large-picture"),
    "no pixels": (png_header(10, 10), 422, "truncated-picture"),
    "float": (saved(small("F"), "TIFF"), 415, "unsupported-picture"),
    "animated": (saved(small(), "GIF", save_all=True, append_images=[Image.new("RGB", (20, 10), "red")]), 415, None),
    "noise": (np.random.default_rng(0).bytes(5000), 422, "not-a-picture"),
}


@pytest.mark.parametrize("name", BAD)
def test_h11_an_unusable_file_is_refused_with_a_reason(model: UploadModel, name: str) -> None:
    data, status, code = BAD[name]
    (answer,) = model.respond([PredictRequest(data)])
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (status, code or "animated-picture")
    assert error["message"].endswith(".") and "/" not in error["message"].replace("n/a", "")


def test_h11_a_bad_file_does_not_affect_the_rest_of_its_batch(model: UploadModel) -> None:
    fine = [jpeg((30, 40), 1), jpeg((50, 60), 2)]
    mixed = model.respond(
        [
            PredictRequest(BAD["cut"][0]),
            PredictRequest(fine[0]),
            PredictRequest(b""),
            PredictRequest(fine[1]),
            PredictRequest(BAD["bomb"][0]),
        ]
    )
    assert [answer.status for answer in mixed] == [422, 200, 422, 200, 422]
    assert [json.loads(mixed[i].body)["size_hw"] for i in (1, 3)] == [[30, 40], [50, 60]]


def test_a_batch_without_a_readable_image_works(model: UploadModel) -> None:
    assert model.respond([]) == []
    assert len(model.respond([PredictRequest(b"")])) == 1


def test_the_response_equals_predict_on_the_same_file(model: UploadModel, weights_file: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg((90, 120), 3))
    scores = load(weights_file).predict(tmp_path / "a.jpg", threshold=0.0).scores
    threshold = float(scores[len(scores) // 2])
    wanted = load(weights_file).predict(tmp_path / "a.jpg", threshold=threshold)
    (answer,) = model.respond([PredictRequest((tmp_path / "a.jpg").read_bytes(), threshold)])
    found = json.loads(answer.body)
    assert 0 < len(wanted) < len(scores) and found["detections"] == wanted.as_json() and found["size_hw"] == [90, 120]


def test_each_image_has_its_own_threshold(model: UploadModel) -> None:
    answers = model.respond([PredictRequest(jpeg(), threshold) for threshold in (0.0, 1.0, 0.0)])
    counts = [len(json.loads(answer.body)["detections"]) for answer in answers]
    assert counts[0] == counts[2] > 0 == counts[1]


def test_facts_list_the_classes_and_reveal_no_path(model: UploadModel) -> None:
    facts = model.facts()
    assert facts["task"] == "detection" and facts["input_size_hw"] == [64, 96]
    assert [row["class"] for row in facts["classes"]] == ["car", "<img src=x onerror=alert(1)>"]
    assert facts["classes"][0]["colour_rgb"] == [255, 64, 38]
    assert "weights" not in json.dumps(facts)


def test_a_segmenter_returns_class_ids_as_a_png() -> None:
    torch.manual_seed(0)
    model = Segmenter(FCN(config_for("fcn8s-fine", ["road", "sky"], (32, 48))).eval())
    (answer,) = UploadModel(model, max_pixels=10_000).respond([PredictRequest(jpeg((37, 81), 5))])
    found = json.loads(answer.body)
    mask = cv2.imdecode(np.frombuffer(base64.b64decode(found["mask_png"]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask is not None and mask.shape == (37, 81) and mask.dtype == np.uint8
    shares = {row["class_id"]: row["share"] for row in found["classes"]}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares == {i: pytest.approx((mask == i).mean()) for i in np.unique(mask).tolist()}


def test_without_a_threshold_the_models_own_counts_and_its_facts_say_it() -> None:
    everyday = UploadModel(load("everyday"), 10_000_000)
    assert {row["threshold"] for row in everyday.facts()["classes"]} == {0.4}
    motorway = real_images()[1].read_bytes()
    own, lower = everyday.respond([PredictRequest(motorway), PredictRequest(motorway, 0.2)])
    few, more = (json.loads(each.body)["detections"] for each in (own, lower))
    assert len(few) == 2 < len(more) and min(each["score"] for each in few) >= 0.4
