from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singleshot.data.boxes.fields import parse_json, read_json
from singleshot.errors import DataError, SingleshotError


def refused(text: str) -> DataError:
    with pytest.raises(DataError) as caught:
        parse_json(text, file=Path("a.json"))
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('{"a": 1,\n "b": [1, 2', 2, "it ends too early"),
        ('{"a": 1,\n "b": NaN}', 2, "NaN is not a JSON number, column 7"),
        ("[1,\n -Infinity]", 2, "-Infinity is not a JSON number, column 2"),
        ('{"a": {"b": 1},\n "c": 2,\n  "a": 3}', 3, 'the key "a" occurs twice, column 3'),
        ('{"\\u0061": 1, "a": 2}', 1, 'the key "a" occurs twice, column 15'),
        ("[" * 100_000, 1, "nested more than 64 deep, column 65"),
        ("[1,\n" + "9" * 5000 + "]", 2, "more than 4300 digits"),
        ("[1 2]", 1, "column 4"),
        ("nothing", 1, "column 1"),
        ("", 1, "it ends too early"),
    ],
    ids=["cut", "nan", "infinity", "key twice", "escaped key", "deep", "long number", "comma", "word", "nothing"],
)
def test_b28_what_is_no_strict_json_is_refused_with_line_and_column(text: str, line: int, what: str) -> None:
    error = refused(text)
    assert (error.kind, error.line, error.exit_code) == ("bad-json", line, 65)
    assert what in str(error)
    assert "\n" not in str(error)


def test_b28_a_file_cut_at_any_byte_is_refused_or_whole() -> None:
    text = json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}], "x": [1.5, None, True, "é"]})
    for end in range(len(text)):
        assert "not well-formed" in str(refused(text[:end]))
    assert parse_json(text, file=Path("a.json")) == json.loads(text)


def test_b28_a_file_above_the_cap_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1, 2, 3]")
    with pytest.raises(DataError) as caught:
        read_json(tmp_path / "a.json", max_bytes=8)
    assert caught.value.kind == "too-large-json"


def test_a6_a_byte_order_mark_is_no_fault_and_another_encoding_is(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]\r\n")
    assert read_json(tmp_path / "a.json") == [1]
    (tmp_path / "a.json").write_bytes(b'{"a":\n "caf\xe9"}')
    with pytest.raises(DataError, match="not UTF-8") as caught:
        read_json(tmp_path / "a.json")
    assert caught.value.line == 2


def test_objects_are_visited_from_the_inside_and_may_be_replaced() -> None:
    seen: list[dict] = []
    found = parse_json('{"a": {"b": 1}}', file=Path("a.json"), visit=lambda each: seen.append(each) or len(seen))
    assert seen == [{"b": 1}, {"a": 1}]
    assert found == 2


@given(st.text(alphabet='{}[]",:\\ \n0129.-eNaInftrulsy\u00e9', max_size=60))
def test_any_text_is_a_value_or_a_named_fault(text: str) -> None:
    try:
        parse_json(text, file=Path("a.json"))
    except SingleshotError as error:
        assert error.file == Path("a.json")
        assert error.line is not None
