"""What the pages say of measurements is what the files of docs/figures say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from singleshot.backbones.blank import without_memory
from singleshot.detection.ssd import config_for
from tools import figures

FILES = sorted(figures.FOLDER.glob("*.json"))
GOOD = {
    "command": ["singleshot demo"],
    "date": "2026-11-30",
    "machine": "two cores",
    "columns": ["", "mAP", "ms"],
    "rows": [["a", "0.5", "1"], ["b", "", "2"]],
    "quoted": [],
}


def in_one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("path", figures.PAGES, ids=lambda path: path.relative_to(figures.ROOT).as_posix())
def test_a_page_shows_the_figures_of_the_files(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    assert figures.filled(page) == page, "run `python -m tools.figures`"
    assert page.count("<!-- figures:") == page.count("<!-- end of figures -->")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_the_pages_say_in_words_is_in_the_file(path: Path) -> None:
    for each in figures.read(path)["quoted"]:
        page = (figures.ROOT / each["page"]).read_text(encoding="utf-8")
        assert in_one_line(each["text"]) in in_one_line(page), f"{each['page']} no longer says it"


def test_every_file_is_shown_by_a_page() -> None:
    names = set().union(*(figures.shown(path.read_text(encoding="utf-8")) for path in figures.PAGES))
    assert names == {path.stem for path in FILES} and len(FILES) >= 4


def test_the_figures_of_readme_are_those_of_the_page_of_measurements() -> None:
    page = (figures.ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    rows = figures.read(figures.FOLDER / "headline.json")["rows"]
    numbers = [number for row in rows for cell in row[1:3] for number in re.findall(r"\d+(?:\.\d+)?", cell)]
    assert len(numbers) >= 9 and [each for each in numbers if each not in page] == []


def test_the_parameters_of_the_models_are_those_of_the_networks() -> None:
    classes = [f"class {index}" for index in range(20)]
    for row in figures.read(figures.FOLDER / "models.json")["rows"]:
        with without_memory():
            network = config_for(row[0].strip("`"), classes).build()
        millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        assert row[1] == (f"{millions:.2f} M" if millions < 10 else f"{millions:.1f} M")


def test_a_figure_that_was_changed_by_hand_is_found(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(GOOD))
    page = "text\n\n<!-- figures: x -->\n<!-- end of figures -->\n\nmore\n"
    made = figures.filled(page, tmp_path)
    assert "| a | 0.5 | 1 |\n| b | | 2 |\n<!-- end" in made
    assert figures.filled(made.replace("0.5", "0.6"), tmp_path) == made


def test_a_page_may_show_some_rows_and_columns(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(GOOD))
    page = "<!-- figures: x rows: 1 columns: 0 2 -->\n<!-- end of figures -->\n"
    assert "| | ms |\n|---|---|\n| b | 2 |\n<!-- end" in figures.filled(page, tmp_path)


@pytest.mark.parametrize(
    "change", [{"machine": ""}, {"command": []}, {"rows": []}, {"rows": [["a"]]}, {"date": "today"}, {"more": 1}]
)
def test_figures_without_their_origin_are_refused(tmp_path: Path, change: dict) -> None:
    (tmp_path / "x.json").write_text(json.dumps(GOOD | change))
    with pytest.raises(ValueError):
        figures.read(tmp_path / "x.json")
