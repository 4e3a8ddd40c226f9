from __future__ import annotations

from pathlib import Path

import pytest

from singleshot.errors import CannotCreateError
from singleshot.reporting import page
from singleshot.reporting.page import Html

HOSTILE = "<script>alert('x')</script>\x1b[2J"


def test_text_from_data_is_escaped_and_markup_is_not_escaped_twice() -> None:
    cell = page.text(HOSTILE)
    assert "<script" not in cell and "\x1b" not in cell and page.text(cell) == cell
    assert page.element("b", Html("<i>x</i>")) == "<b><i>x</i></b>"


def test_every_door_into_a_page_escapes() -> None:
    parts = [
        page.paragraph(HOSTILE),
        page.tiles([(HOSTILE, HOSTILE)]),
        page.table((HOSTILE,), [(HOSTILE,)]),
        page.matrix((HOSTILE,), HOSTILE, HOSTILE, [[1, 0], [0, 2]]),
        page.figure(Html("<img>"), HOSTILE),
    ]
    made = page.document(HOSTILE, page.paragraph(HOSTILE), [page.section(HOSTILE, *parts)])
    assert "<script" not in made and "&lt;script&gt;" in made


def test_a_page_needs_nothing_from_outside_and_runs_nothing() -> None:
    made = page.document("t", Html(""), [])
    assert "default-src 'none'" in made
    assert not any(word in made for word in ("http://", "https://", "<script", "<link", "@import", "url("))


def test_numbers_are_shown_as_numbers() -> None:
    assert page.table(("a", "b"), [("x", 0.12345), ("y", None), ("z", 7)], sums=1).count("<tr") == 4
    assert "0.123" in page.table(("a", "b"), [("x", 0.12345)])
    assert page.table(("a",), []).count("<td") == 0


def test_a_cell_of_a_matrix_is_shaded_by_its_share_of_the_row() -> None:
    made = page.matrix(("a", "b"), "", "", [[3, 1], [0, 0]])
    assert "0.56" in made and "75.0%" in made and "25.0%" in made  # 0.75 · 3 / 4


def test_a_foreign_file_stays_and_a_report_is_made_anew(tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("<html>")
    with pytest.raises(CannotCreateError, match="no report of ours"):
        page.check_target(mine)
    page.check_target(mine, overwrite=True)
    ours = page.write(tmp_path / "r.html", page.document("t", Html(""), []))
    page.check_target(ours)
    page.check_target(tmp_path / "new.html")
    with pytest.raises(CannotCreateError, match="folder"):
        page.check_target(tmp_path, overwrite=True)
