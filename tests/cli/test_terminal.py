from __future__ import annotations

import inspect
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.table import Table

from singleshot.cli import terminal
from singleshot.cli.terminal import TrainingBar, bar, downloads, frame_rate, frames_bar, show, warn


def test_without_a_terminal_an_epoch_prints_one_line_and_no_bar(capfd: pytest.CaptureFixture[str]) -> None:
    with TrainingBar() as watching:
        watching.step(epoch=0, step=1, done=0.5, parts={"class": 1.25}, rate=0.01, images=8)
        watching.epoch({"epoch": 1, "train_class": 1.25, "val_map": None, "images_per_second": 9.0, "seconds": 3.0})
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.strip() == "epoch 1  train_class 1.250  9 img/s  3 s"


def test_a_notebook_that_asks_for_colour_in_a_pipe_gets_no_bar() -> None:
    code = "from singleshot.cli.terminal import bar, note\nwith bar('images', 2) as advance:\n advance(1)\nnote('end')"
    environment = os.environ | {"FORCE_COLOR": "1", "TERM": "xterm-color"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == ("", "end\n")


def test_without_a_terminal_a_long_epoch_says_how_far_it_is(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    watching = TrainingBar()
    for step in range(1, 61):
        now[0] += 1.0
        watching.step(epoch=0, step=step, done=step / 100, parts={"class": 1.25}, rate=0.01, images=8)
    # After 10 s, then 15, 22.5 … s later.
    assert capfd.readouterr().err.splitlines() == [
        "training: 10%  1:30 left",
        "training: 25%  1:15 left",
        "training: 48%  0:52 left",
    ]


def test_an_epoch_without_a_step_has_no_speed(capfd: pytest.CaptureFixture[str]) -> None:
    TrainingBar().epoch({"epoch": 6, "val_map": 0.151, "images_per_second": 0.0, "seconds": 127.0})
    assert capfd.readouterr().err == "epoch 6  val_map 0.151  127 s\n"


def test_an_epoch_is_one_line_in_a_log_however_long(capfd: pytest.CaptureFixture[str]) -> None:
    columns = ("train_class", "train_box", "val_class", "val_box", "val_map", "train_subset_map")
    with TrainingBar() as watching:
        watching.epoch({"epoch": 1, "images_per_second": 9.0, "seconds": 3.0} | dict.fromkeys(columns, 0.5))
    shown = capfd.readouterr().err
    assert shown.count("\n") == 1 and len(shown) > 100


def test_a_warning_with_brackets_is_one_unchanged_line(capfd: pytest.CaptureFixture[str]) -> None:
    warn("[red]" + "x" * 300)
    assert capfd.readouterr().err == f"singleshot: warning: [red]{'x' * 300}\n"


def test_a_bar_over_nothing_works() -> None:
    with bar("pictures", 0) as advance:
        advance(0)


def test_each_of_several_downloads_is_named_once(capfd: pytest.CaptureFixture[str]) -> None:
    with downloads() as advance:
        for done in (1, 2, 3):
            advance("a.tar", done, 3)
            advance("unpacking [a.tar]", done, None)
    assert capfd.readouterr().err.split("\n") == ["a.tar", "unpacking [a.tar]", ""]


def test_d8_a_frame_count_from_a_header_is_an_estimate_and_may_be_exceeded() -> None:
    assert frame_rate(50, 200, 1.0) == "50/~200  50 frames/s  0:03 left"
    assert frame_rate(250, 200, 5.0) == "250  50 frames/s"


def test_without_a_terminal_a_frames_bar_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with frames_bar("a.mp4", None) as advance:
        advance(1)
    assert capsys.readouterr().err == ""


def test_text_is_never_interpreted_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    name = "[bold]a[/bold] :smile: {b} [/x]"
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    show(name)
    show(table)
    for context in (bar(name, 1), frames_bar(name, 1), downloads()):
        with context:
            pass
    assert capsys.readouterr().out.count(name) >= 3


@pytest.mark.parametrize("table", ["miou", "maxf", "voc", "coco"])
def test_a_class_name_is_printed_as_it_is_in_every_table(capsys: pytest.CaptureFixture[str], table: str) -> None:
    from singleshot.evaluation import coco, maxf, miou, voc

    name = "m[/x]\\[red]"
    figures = SimpleNamespace(
        iou={name: 0.5}, pixels=10, miou=0.5, pixel_accuracy=0.5, mean_accuracy=0.5, frequency_weighted_iou=0.5
    )
    row = SimpleNamespace(maxf=0.5, ap=0.5, pre=0.5, rec=0.5, fpr=0.5, fnr=0.5)
    reports: dict[str, tuple[Any, Any]] = {
        "miou": (
            miou.miou_table,
            SimpleNamespace(images=1, iiou=None, matrix=np.ones((1, 2)), figures=figures, categories=None),
        ),
        "maxf": (maxf.maxf_table, SimpleNamespace(images=1, plane="image", by_category={name: row})),
        "voc": (
            voc.voc_table,
            SimpleNamespace(
                metric="voc07",
                at_thresholds={},
                curves={name: SimpleNamespace(num_ground_truths=3)},
                ap={name: 0.5},
                map=0.5,
                ground_truths=3,
            ),
        ),
        "coco": (
            coco.coco_table,
            SimpleNamespace(
                ap={name: 0.5},
                ground_truths_of={name: 3},
                summary={},
                figures=SimpleNamespace(ground_truths=3),
            ),
        ),
    }
    make, report = reports[table]
    show(inspect.unwrap(make)(report))
    assert name in capsys.readouterr().out
