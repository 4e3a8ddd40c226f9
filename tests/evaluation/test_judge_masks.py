from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from singleshot.data.masks import folders as mask_folders
from singleshot.errors import DataError, Fault, UsageError
from singleshot.evaluation.evaluate import evaluate
from singleshot.evaluation.judge_masks import counted, judge_of, judge_segmenter, require_masks
from singleshot.evaluation.maxf import MaxfJudge, MaxfReport
from singleshot.evaluation.miou import MiouJudge, MiouReport
from singleshot.evaluation.segment import Seen
from singleshot.prediction.predictor import Segmenter
from singleshot.segmentation.fcn import FCN, config_for
from singleshot.structures import Dataset, LabelMap


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(FCN(config_for("fcn8s-fine", ["dark", "bright"], (48, 64))).eval())


def bare(split: Dataset, *places: int) -> Dataset:
    """The split with no mask at those places."""
    samples = [replace(one, mask_path=None) if i in places else one for i, one in enumerate(split.samples)]
    return replace(split, samples=samples)


def test_a_split_without_masks_is_refused_by_name_and_count(halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    require_masks(split)
    for lacking, words in (
        (bare(split, 1), "1 of 2 pictures of val have no mask"),
        (bare(split, 0, 1), "2 of 2 pictures"),
        (replace(split, mask_code=None), "2 of 2 pictures"),
    ):
        with pytest.raises(DataError, match=words) as raised:
            judge_of("miou", lacking)
        assert raised.value.kind == "no-masks" and raised.value.remedy == "Name a split with masks"


def test_answers_are_counted_as_they_pass_classes_for_miou_and_chances_for_maxf(halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    truth = np.array([[0, 1, 1, 1]], np.uint8)
    chances = np.array([[0.1, 0.9, 0.6, 0.2]], np.float32)
    seen = Seen(0, np.array([[0, 1, 1, 0]], np.uint8), truth, chances)
    miou, maxf = judge_of("miou", split), judge_of("maxf", split)
    assert isinstance(miou, MiouJudge) and isinstance(maxf, MaxfJudge)
    assert list(counted(miou, [seen])) == list(counted(maxf, [seen])) == [seen]
    assert miou.report().figures.iou == {"dark": 0.5, "bright": pytest.approx(2 / 3)}
    # From 51 on (0.2 of 255, rounded) all of the road is found and nothing else.
    found = maxf.report().shown["urban"]
    assert (found.maxf, found.rec) == (1.0, 1.0) and found.threshold is not None and 25 < found.threshold <= 51
    (passed,) = counted(miou, [replace(seen, truth=None)])
    assert passed.truth is None and miou.images == 1


def test_python_judges_a_segmenter_as_the_command_line_does(segmenter: Segmenter, halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    direct = judge_segmenter(segmenter, split)
    for data in (halves.root, split):
        report = evaluate(segmenter, data, split="val", metric="miou")
        assert isinstance(report, MiouReport) and report.as_json() == direct.as_json()
    maxf = evaluate(segmenter, split, metric="maxf")
    assert isinstance(maxf, MaxfReport) and maxf.images == 2
    empty = evaluate(segmenter, replace(split, samples=[]), metric="miou")
    assert isinstance(empty, MiouReport) and empty.figures.miou is None


def test_a_detectors_metric_for_a_segmenter_and_other_classes_are_refused(segmenter: Segmenter, halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    with pytest.raises(UsageError, match="voc07 is of a detector"):
        evaluate(segmenter, split, metric="voc07")  # pyright: ignore[reportArgumentType, reportCallIssue]
    with pytest.raises(DataError, match="the segmenter's dark, bright"):
        evaluate(segmenter, replace(split, label_map=LabelMap(("light", "shade"))), metric="miou")


def test_what_cannot_be_read_is_left_out_when_asked(segmenter: Segmenter, halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    halves.mask("val", 0).write_bytes(b"<html>")
    with pytest.raises(DataError, match="not a PNG"):
        judge_segmenter(segmenter, split)
    faults: list[Fault] = []
    assert judge_segmenter(segmenter, split, on_bad="skip", on_skipped=faults.append).images == 1
    assert [fault.file for fault in faults] == [halves.mask("val", 0)]
