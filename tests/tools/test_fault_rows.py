from __future__ import annotations

from pathlib import Path

from tools import fault_rows
from tools.fault_rows import Row, found_tests, page, read_rows, rows_of

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_tests_say() -> None:
    rows = read_rows(ROOT / fault_rows.ROWS)
    tests = [(Path(file).relative_to(ROOT).as_posix(), test) for file, test in found_tests(ROOT / "tests")]
    said = page(rows, tests)
    assert (ROOT / fault_rows.PAGE).read_text(encoding="utf-8") == said, "run python -m tools.fault_rows"


def test_every_row_is_there_once_and_in_order() -> None:
    names = [row.name for row in read_rows(ROOT / fault_rows.ROWS)]
    assert names == sorted(set(names), key=lambda name: (name[0], int(name[1:])))
    assert [len([name for name in names if name[0] == part]) for part in "EFGI"] == [17, 30, 15, 15]


def test_no_row_of_checkpoints_training_and_ranks_is_open() -> None:
    rows = [row for row in read_rows(ROOT / fault_rows.ROWS) if row.name[0] in "FI" or row.name in ("G14", "G15")]
    tested = {name for _, test in found_tests(ROOT / "tests") for name in rows_of(test)}
    assert [row.name for row in rows if row.name not in tested and not row.left_out] == []


def test_a_row_is_tested_left_out_with_its_reason_or_open() -> None:
    rows = [Row("E1", "a cut", ""), Row("E2", "a bit", "no time"), Row("F1", "a kill", "")]
    said = page(rows, [("tests/a/test_a.py", "test_e1_a_cut_is_noticed"), ("tests/b.py", "test_nothing")])
    assert "3 rows: 1 tested, 1 left out with the reason, 1 open." in said
    assert "| E1 | a cut | `test_e1_a_cut_is_noticed` (a/test_a.py) |" in said
    assert "| E2 | a bit | left out: no time |" in said and "| F1 | a kill | open |" in said


def test_a_name_gives_the_rows_at_its_beginning_and_after_and() -> None:
    assert rows_of("test_g1_no_detections_give_zero_and_g2_no_objects_give_none") == ["G1", "G2"]
    assert rows_of("test_e2_e5_e8_a_trunk") == ["E2", "E5", "E8"]
    assert rows_of("test_the_h264_codec_or_f1_score") == []
