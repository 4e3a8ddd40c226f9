from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from singleshot.benchmark.posts_2017 import MACHINES
from singleshot.benchmark.report import chart, column, draw, table
from singleshot.benchmark.results import Report, Result
from singleshot.errors import UsageError


def test_the_table_has_the_posts_times_and_multiples_and_ours_beside_them(mine: Report) -> None:
    lines = table([*MACHINES, column("mine", mine)], "ti").splitlines()
    assert lines[0].split() == ["one", "epoch", "vgg300", "vgg512", "kitti", "cityscapes"]
    assert lines[3].split() == ["p3", "08:15", "(0.709)", "20:10", "(0.716)", "failed", "13:01", "(1.39)"]
    assert lines[4].split() == ["mine", "1:29:00", "(7.65)", "failed", "–", "–"]  # 5340 s over 698 s
    text = "\n".join(lines)
    assert "kitti failed: CUDA bug" in text and "vgg512 failed: out of memory" in text
    assert "1:28:00 without validation" in text


def test_the_chart_is_normalised_to_the_baseline_and_long_times_have_long_bars(mine: Report) -> None:
    text = chart([*MACHINES, column("mine", mine)], "p3")
    bars = dict(line.split()[:2] for line in text.splitlines()[2:6])
    assert "  p3 " in text and text.splitlines()[4].endswith(" 1")
    assert len(bars["mine"]) > len(bars["p2"]) > len(bars["ti"]) > len(bars["p3"]) >= 1


def test_a_much_slower_machine_gets_bars_by_logarithm() -> None:
    slow = column("slow", Report({}, {"vgg300": Result(8, "parallel", epoch_seconds=698_000.0)}))
    text = chart([*MACHINES, slow], "ti")
    assert "by logarithm" in text.splitlines()[0]
    bars = {line.split()[0]: line.count("█") for line in text.splitlines()[2:6]}
    assert bars["ti"] > 1 and bars["slow"] == 40


def test_the_picture_is_a_png(mine: Report, tmp_path: Path) -> None:
    strange = Report(mine.machine, {**mine.workloads, r"\$x^{$": mine.workloads["vgg300"]})
    draw([*MACHINES, column(r"_\$mine^{$", strange)], r"_\$mine^{$", tmp_path / "chart.png")
    image = cv2.imread(str(tmp_path / "chart.png"))
    assert image.shape == (550, 1100, 3) and image.std() > 10


def test_a_name_cannot_reach_the_terminal_as_more_than_text(mine: Report) -> None:
    evil = Report(mine.machine, {"a\x1b[2J": mine.workloads["vgg300"]})
    columns = [*MACHINES, column("b\x1b[2J", evil)]
    assert "\x1b" not in table(columns, "ti") + chart(columns, "ti")


def test_an_unknown_baseline_and_two_of_one_name_are_refused(mine: Report) -> None:
    with pytest.raises(UsageError, match="Did you mean ti"):
        table(MACHINES, "tii")
    with pytest.raises(UsageError, match="two machines are called ti"):
        chart([*MACHINES, column("ti", mine)], "ti")
