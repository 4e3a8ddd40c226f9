from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.data.boxes import yolo_yaml
from singleshot.data.boxes.yolo_yaml import Description
from singleshot.errors import ConfigError, SingleshotError

GOOD = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: car\n  1: no\n"


def read(tmp_path: Path, text: str | bytes) -> Description:
    (tmp_path / "data.yaml").write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    return yolo_yaml.read(tmp_path / "data.yaml")


def test_names_are_taken_as_written_though_yaml_would_make_no_false(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)
    assert found.names == ("car", "no")
    assert (found.base, found.splits) == (".", {"train": ("images/train",), "val": ("images/val",)})
    assert (found.lines, found.faults) == ({"train": 2, "val": 3}, ())


@pytest.mark.parametrize(
    "names",
    ["[car, 'yes']", "{0: car, 1: yes}", "{1: yes, 0: car}", "\n- car\n- yes"],
    ids=["list", "table", "any order", "lines"],
)
def test_names_may_be_a_list_or_a_table(tmp_path: Path, names: str) -> None:
    assert read(tmp_path, f"names: {names}\ntrain: a\nnc: 2\n").names == ("car", "yes")


def test_a_split_may_be_a_list_of_folders_and_empty_ones_are_none(tmp_path: Path) -> None:
    assert read(tmp_path, "train: [a, b]\nval:\ntest: ~\npath:\nnames: [x]").splits == {"train": ("a", "b")}
    found = read(tmp_path, "train: a\nval: []\npath: []\nnames: [x]")
    assert found.splits == {"train": ("a",)} and found.base == ""


def test_a6_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    expected = read(tmp_path, GOOD)
    assert read(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()) == expected


BOMB = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (BOMB + GOOD, 2, "an alias"),
        ("names: !!python/object/apply:os.system ['true']\n", 1, "the tag"),
        ("train: a\nnames: !mine [a]\n", 2, "the tag"),
        ("train: a\nnames: [a\n", 3, "not well-formed"),
        ("\ttrain: a", 1, "not well-formed"),
        ("train: a\nnames: [a]\ntrain: b", 3, "occurs twice"),
        ("train: a\nnames: [a]\nvla: b", 3, "unknown key 'vla'. Did you mean val?"),
        ("train: a\nname: [a]", 2, "Did you mean names?"),
        ("train: a", 1, "no class names"),
        ("names: [a]\ntrain: {b: c}", 2, "train is not a path"),
        ("names: [a]\npath: [b, c]", 2, "path is a list of folders"),
        ("names: [a, [b]]", 1, "name of class 1 is not a text"),
        ("names: [a, b, a]", 1, "occurs twice"),
        ("names: {0: a, 2: b}", 1, "not 0, 1, 2"),
        ("names: {a: 0}", 1, "not a whole number"),
        ("names: []", 1, "not 0, 1, 2"),
        ("names: word", 1, "neither a list nor a table"),
        ("names: [a]\n\nnc: 2", 3, "nc is not 1"),
        ("- a\n- b", 1, "not a table of keys"),
        ("just text", 1, "not a table of keys"),
        ("a: " + "[" * 5000, 1, "nested more than 8 deep"),
        ("a: \x01", 1, "not well-formed"),
    ],
)
def test_j3_what_is_not_plain_is_78_with_its_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert what in str(caught.value)
    assert (caught.value.exit_code, caught.value.line) == (78, line)
    assert "\n" not in str(caught.value)


def test_a_key_of_another_program_is_a_note(tmp_path: Path) -> None:
    (fault,) = read(tmp_path, GOOD + "author: me\nroboflow: {version: 3}\n").faults
    assert (fault.kind, fault.severity, fault.line) == ("unknown-key", "note", 7)


@settings(max_examples=150, deadline=None)
@given(text=st.text(alphabet="names:train[]{}&*!-,'\"# \n\t01|>%?\u00e9", max_size=80) | st.binary(max_size=30))
def test_any_file_is_a_description_or_an_error_with_the_file(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    folder = tmp_path_factory.mktemp("yaml")
    try:
        assert read(folder, text).names
    except SingleshotError as error:
        assert error.file == folder / "data.yaml"
