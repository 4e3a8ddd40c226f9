from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from singleshot import fonts
from singleshot.benchmark.report import MACHINES_2017, chart, column, draw, table
from singleshot.benchmark.results import Report, Result
from singleshot.errors import UsageError


def test_the_table_has_times_and_multiples_of_the_post_and_ours(ours: Report) -> None:
    lines = table([*MACHINES_2017, column("mine", ours)], "ti").splitlines()
    assert lines[0].split() == ["one", "epoch", "vgg300", "vgg512", "kitti", "cityscapes"]
    assert lines[3].split() == ["p3", "08:15", "(0.709)", "20:10", "(0.716)", "failed", "13:01", "(1.39)"]
    assert lines[4].split() == ["mine", "1:29:00", "(7.65)", "failed", "–", "–"]  # 5340 s over 698 s
    text = "\n".join(lines)
    assert "kitti failed: CUDA bug" in text and "vgg512 failed: out of memory" in text
    assert "1:28:00 without validation" in text


def test_the_chart_is_normalised_and_long_times_have_long_bars(ours: Report) -> None:
    text = chart([*MACHINES_2017, column("mine", ours)], "p3")
    bars = dict(line.split()[:2] for line in text.splitlines()[2:6])
    assert "  p3 " in text and text.splitlines()[4].endswith(" 1")
    assert len(bars["mine"]) > len(bars["p2"]) > len(bars["ti"]) > len(bars["p3"]) >= 1


def test_a_much_slower_machine_gives_logarithmic_bars() -> None:
    slow = column("slow", Report({}, {"vgg300": Result(8, "parallel", epoch_seconds=698_000.0)}))
    text = chart([*MACHINES_2017, slow], "ti")
    assert "by logarithm" in text.splitlines()[0]
    bars = {line.split()[0]: line.count("█") for line in text.splitlines()[2:6]}
    assert bars["ti"] > 1 and bars["slow"] == 40


def test_the_chart_is_saved_as_a_png(ours: Report, tmp_path: Path) -> None:
    strange = Report(ours.machine, {**ours.workloads, r"\$x^{$": ours.workloads["vgg300"]})
    draw([*MACHINES_2017, column(r"_\$mine^{$", strange)], r"_\$mine^{$", tmp_path / "chart.png")
    image = cv2.imread(str(tmp_path / "chart.png"))
    assert image.shape == (550, 1100, 3) and image.std() > 10


@pytest.mark.parametrize(("name", "warnings"), [("Пешеход", 0), ("自行车", 1)])
def test_names_outside_ascii_are_drawn_in_letters_or_give_our_one_warning(
    name: str, warnings: int, ours: Report, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fonts._warned.clear()
    for suffix in ("a", "b"):  # matplotlib's own warning of a missing glyph would be an error
        draw([*MACHINES_2017, column(name, ours)], name, tmp_path / f"{suffix}.png")
    assert len(caplog.messages) == warnings and all("--font" in message for message in caplog.messages)
    draw([*MACHINES_2017, column(name[::-1], ours)], name[::-1], tmp_path / "c.png")
    assert ((tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()) == (not warnings)


def test_control_characters_in_names_do_not_reach_the_terminal(ours: Report) -> None:
    evil = Report(ours.machine, {"a\x1b[2J": ours.workloads["vgg300"]})
    columns = [*MACHINES_2017, column("b\x1b[2J", evil)]
    assert "\x1b" not in table(columns, "ti") + chart(columns, "ti")


def test_an_unknown_baseline_and_a_repeated_name_are_refused(ours: Report) -> None:
    with pytest.raises(UsageError, match="Did you mean ti"):
        table(MACHINES_2017, "tii")
    with pytest.raises(UsageError, match="two machines are named ti"):
        chart([*MACHINES_2017, column("ti", ours)], "ti")


def test_the_three_machines_have_the_times_of_the_post() -> None:
    ti, p2, p3 = (each.epoch_seconds for each in MACHINES_2017)
    assert ti == {"vgg300": 11 * 60 + 38, "vgg512": 28 * 60 + 9, "kitti": 16, "cityscapes": 9 * 60 + 22}
    assert p2 == {"vgg300": 46 * 60 + 39, "vgg512": 109 * 60 + 5, "kitti": 50, "cityscapes": 20 * 60 + 31}
    assert p3 == {"vgg300": 8 * 60 + 15, "vgg512": 20 * 60 + 10, "kitti": None, "cityscapes": 13 * 60 + 1}
    assert MACHINES_2017[2].reasons == {"kitti": "CUDA bug"}
