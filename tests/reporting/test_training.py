from __future__ import annotations

from pathlib import Path

import pytest

from singleshot.errors import DataError
from singleshot.reporting import training


def test_a_log_is_read_with_its_gaps(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("epoch,step,train_class,val_map,seconds,images_per_second\n1,5,2.5,,3,10\n2,10,1.5,0.25,6.4,30\n")
    rows = training.read_log(log)
    assert rows[0]["val_map"] is None and rows[1]["val_map"] == 0.25
    facts = dict(training.speed(rows))
    assert (facts["epochs"], facts["steps"]) == (2, 10)
    assert facts["images per second in training (median)"] == "20"
    made = training.curves(rows)
    assert made.count("<svg") == 3 and "train_class" in made


def test_soft_iou_and_classes_named_like_losses_are_told_apart() -> None:
    made = training.curves([{"epoch": 1.0, "train_soft_iou": 0.5, "val_ap_box": 0.3, "val_map": 0.3}])
    losses = made.split("Loss by part")[1].split("</svg>")[0]
    assert "ap box" not in losses
    assert "train_soft_iou" in made


def test_no_log_and_an_empty_one_say_so(tmp_path: Path) -> None:
    assert training.read_log(tmp_path / "log.csv") == []
    assert "No epoch" in training.curves([]) and training.speed([]) == []


def test_a_row_without_numbers_is_named(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("epoch,lr\n1,0.1\n2,many\n")
    with pytest.raises(DataError, match=r"log\.csv:3"):
        training.read_log(log)
