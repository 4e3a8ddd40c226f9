from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from singleshot.errors import DataError, UsageError
from singleshot.prediction.predictor import Segmenter
from singleshot.segmentation.fcn import FCN, config_for
from tests.prediction.videos import make

ROAD, SKY = (1, 2, 3), (9, 8, 7)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(FCN(config_for("fcn8s-fine", ["road", "sky"], (32, 48), [ROAD, SKY], "letterbox")).eval())


def test_every_form_of_an_image_gives_one_answer_at_its_own_size(segmenter: Segmenter, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (37, 81, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    answers = [segmenter.predict(form) for form in (image, Image.fromarray(image), tmp_path / "a.png")]
    assert all(answer.size_hw == (37, 81) for answer in answers)
    assert all((answer.class_ids == answers[0].class_ids).all() for answer in answers)
    assert answers[0].class_names == ("road", "sky") and answers[0].colours.tolist() == [[1, 2, 3], [9, 8, 7]]
    assert sum(answers[0].shares().values()) == pytest.approx(1.0)


def test_probabilities_agree_with_the_classes(segmenter: Segmenter) -> None:
    found = segmenter.predict(np.zeros((20, 30, 3), np.uint8), probabilities=True)
    assert found.probabilities is not None and found.probabilities.shape == (2, 20, 30)
    assert (found.probabilities.argmax(axis=0) == found.class_ids).all()
    np.testing.assert_allclose(found.probabilities.sum(axis=0), 1.0, rtol=1e-5)


def test_a_list_gives_a_list_in_order_and_an_empty_one_an_empty_one(segmenter: Segmenter) -> None:
    images = [np.full((size, 40, 3), size, np.uint8) for size in (10, 20, 30)]
    found = segmenter.predict(images, batch_size=2)
    assert [answer.size_hw for answer in found] == [(10, 40), (20, 40), (30, 40)]
    assert segmenter.predict([]) == []


def test_frames_of_a_stream_go_through_the_network_together(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    original = Segmenter.forward
    monkeypatch.setattr(Segmenter, "forward", lambda self, it: batches.append(len(it)) or original(self, it))
    frames = [np.full((20, 30, 3), shade, np.uint8) for shade in range(10)]
    assert [each.frame.index for each in segmenter.stream(frames, batch_size=4)] == list(range(10))
    assert batches == [4, 4, 2]


def test_a_video_gives_what_predict_gives_frame_by_frame(segmenter: Segmenter, tmp_path: Path) -> None:
    film = make(tmp_path / "a.mp4", 5)
    seen = list(segmenter.stream(film, drawing=True, batch_size=2))
    assert [each.frame.index for each in seen] == list(range(5))
    for each in seen:
        assert np.array_equal(each.result.class_ids, segmenter.predict(each.frame.image).class_ids)
        assert each.drawn is not None and each.drawn.shape == each.frame.image.shape
    with pytest.raises(UsageError, match="batch_size"):
        segmenter.predict([], batch_size=0)
    with pytest.raises(TypeError, match="track"):
        segmenter.stream(film, track=True)


def test_colours_are_ours_where_the_data_set_has_none() -> None:
    plain = Segmenter(FCN(config_for("fcn8s-fine", ["a", "b", "c"], (32, 32))).eval())
    assert plain.colours.shape == (3, 3) and len({tuple(row) for row in plain.colours.tolist()}) == 3


def test_what_is_no_image_is_refused(segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        segmenter.predict(np.zeros((4, 4), np.uint8))
    (tmp_path / "x.png").write_bytes(b"<html>")
    with pytest.raises(DataError):
        segmenter.predict(tmp_path / "x.png")
