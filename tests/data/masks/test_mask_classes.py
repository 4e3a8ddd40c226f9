from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from singleshot.data.masks import mask_classes
from singleshot.errors import DataError, InputMissingError
from singleshot.structures import UNKNOWN, VOID


def write(folder: Path, rows: Any) -> Path:
    (folder / "classes.json").write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return folder


def test_a_text_file_names_the_numbers_from_zero(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("\ufeffroad\r\nsky\n\n")
    found = mask_classes.read(tmp_path)
    assert found.label_map.names == ("road", "sky") and found.colours == ()
    assert found.code.values[:3] == (0, 1, UNKNOWN) and found.code.values[VOID] == VOID


def test_gaps_and_classes_that_are_not_judged(tmp_path: Path) -> None:
    rows = [
        {"id": 5, "name": "road", "colour": [1, 2, 3]},
        {"id": 0, "name": "nothing", "colour": [0, 0, 0], "evaluated": False},
        {"id": 9, "name": "sky", "color": [4, 5, 6]},
    ]
    found = mask_classes.read(write(tmp_path, rows))
    assert found.label_map.names == ("road", "sky")
    assert [found.code.values[i] for i in (0, 5, 9, 1)] == [VOID, 0, 1, UNKNOWN]
    assert found.code.colours == ((1, 2, 3, 0), (0, 0, 0, VOID), (4, 5, 6, 1))
    assert found.colours == ((1, 2, 3), (4, 5, 6))


def test_255_may_be_a_class(tmp_path: Path) -> None:
    found = mask_classes.read(write(tmp_path, [{"id": 0, "name": "a"}, {"id": 255, "name": "b"}]))
    assert found.code.values[255] == 1


@pytest.mark.parametrize(
    "rows",
    [
        "{",
        {},
        [],
        [3],
        [{"id": 0}],
        [{"id": 256, "name": "a"}],
        [{"id": True, "name": "a"}],
        [{"id": 0, "name": "a", "colour": [1, 2]}],
        [{"id": 0, "name": "a", "colour": [1, 2, 300]}],
        [{"id": 0, "name": "a"}, {"id": 0, "name": "b"}],
        [{"id": 0, "name": "a"}, {"id": 1, "name": "a"}],
        [{"id": 0, "name": "a", "colour": [1, 2, 3]}, {"id": 1, "name": "b", "colour": [1, 2, 3]}],
    ],
)
def test_a_malformed_list_is_refused_with_its_file(tmp_path: Path, rows: Any) -> None:
    with pytest.raises(DataError) as raised:
        mask_classes.read(write(tmp_path, rows))
    assert raised.value.file == tmp_path / "classes.json"


def test_no_list_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match=r"Write classes\.txt"):
        mask_classes.read(tmp_path)
