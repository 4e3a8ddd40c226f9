"""The picture of a review's rows, and the judgement of BCCD's first 50 rows that the page of labelling publishes."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from singleshot.images import read_image
from singleshot.reporting import page
from tools import figures, review_crops

JUDGEMENTS = ("wrong annotation", "model", "unclear")


def page_with(colours: dict[int, tuple[int, int, int]]) -> str:
    album = page.Album()
    shots = [
        album.image(np.full((40, 60, 3), colour, np.uint8), f"{rank}. missing: RBC, in {rank}.jpg", width=240)
        for rank, colour in colours.items()
    ]
    return page.document("Review", page.paragraph("1. is no crop"), [page.section("Rows", *shots)])


def test_the_picture_has_the_rows_that_were_asked_for_in_their_order(tmp_path: Path) -> None:
    colours = {1: (255, 0, 0), 2: (0, 255, 0), 12: (0, 0, 255)}
    (tmp_path / "review.html").write_text(page_with(colours), encoding="utf-8")
    out = tmp_path / "crops.jpg"
    review_crops.main([str(tmp_path / "review.html"), "--rows", "12", "1", "--out", str(out)])
    picture = read_image(out)
    height, width = review_crops.CELL_HW
    centres = picture[height // 2, [width // 2, width + review_crops.GAP + width // 2]]
    np.testing.assert_allclose(centres, [colours[12], colours[1]], atol=4)


def test_a_row_without_a_crop_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "review.html").write_text(page_with({1: (0, 0, 0)}), encoding="utf-8")
    with pytest.raises(SystemExit):
        review_crops.main([str(tmp_path / "review.html"), "--rows", "1", "7", "--out", str(tmp_path / "a.jpg")])
    assert "no crop of row 7" in capsys.readouterr().err and not (tmp_path / "a.jpg").exists()


def test_the_published_counts_are_those_of_the_published_judgements() -> None:
    with (figures.FOLDER / "bccd_review.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 51)]
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        named = {"missing": f"missing {row['detected']}", "spurious": f"spurious {row['annotated']}"}
        for kind in (named.get(row["kind"], row["kind"]), "together"):
            counts.setdefault(kind, Counter())[row["judgement"]] += 1
    made = {
        kind: [str(number) for number in (count.total(), *(count[each] for each in JUDGEMENTS))]
        for kind, count in counts.items()
    }
    published = figures.read(figures.FOLDER / "bccd_review.json")["rows"]
    assert {row[0]: [cell.strip("*") for cell in row[1:]] for row in published} == made
