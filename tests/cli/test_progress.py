from __future__ import annotations

import pytest

from singleshot.cli.progress import TrainingBar, bar, transfers, warn


def test_an_epoch_leaves_a_line_with_its_figures_and_no_bar_in_a_file(capfd: pytest.CaptureFixture[str]) -> None:
    with TrainingBar() as watching:
        watching.step(epoch=0, step=1, done=0.5, parts={"class": 1.25}, rate=0.01, images=8)
        watching.epoch({"epoch": 1, "train_class": 1.25, "val_map": None, "images_per_second": 9.0, "seconds": 3.0})
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.strip() == "epoch 1  train_class 1.250  9 img/s  3 s"


def test_an_epoch_is_one_line_in_a_log_however_long(capfd: pytest.CaptureFixture[str]) -> None:
    columns = ("train_class", "train_box", "val_class", "val_box", "val_map", "train_subset_map")
    with TrainingBar() as watching:
        watching.epoch({"epoch": 1, "images_per_second": 9.0, "seconds": 3.0} | dict.fromkeys(columns, 0.5))
    shown = capfd.readouterr().err
    assert shown.count("\n") == 1 and len(shown) > 100


def test_a_warning_is_one_line_whatever_brackets_it_holds(capfd: pytest.CaptureFixture[str]) -> None:
    warn("[red]" + "x" * 300)
    assert capfd.readouterr().err == f"singleshot: warning: [red]{'x' * 300}\n"


def test_a_bar_over_nothing_ends() -> None:
    with bar("pictures", 0) as advance:
        advance(0)


def test_several_transfers_are_named_once_each(capfd: pytest.CaptureFixture[str]) -> None:
    with transfers() as tell:
        for done in (1, 2, 3):
            tell("a.tar", done, 3)
            tell("unpacking [a.tar]", done, None)
    assert capfd.readouterr().err.split("\n") == ["a.tar", "unpacking [a.tar]", ""]
