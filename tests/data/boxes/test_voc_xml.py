from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.data.boxes import voc_xml
from singleshot.errors import DataError

FILE = Path("a.xml")
GOOD = """<?xml version="1.0"?>
<annotation>
  <size><width>100</width><height>80</height></size>
  <object>
    <name>cat</name>
    <difficult>1</difficult>
    <bndbox>
      <xmin>11</xmin><ymin>21</ymin>
      <xmax>30.5</xmax><ymax>40</ymax>
    </bndbox>
  </object>
</annotation>
"""


def _parsed(text: str) -> voc_xml.Annotation:
    return voc_xml.parse(text.encode(), file=FILE)


def _failure(text: str | bytes) -> DataError:
    with pytest.raises(DataError) as caught:
        voc_xml.parse(text.encode() if isinstance(text, str) else text, file=FILE)
    assert caught.value.file == FILE
    return caught.value


def _fault(text: str) -> tuple[str, int | None]:
    """Kind and line of the only fault of an annotation whose object is left out for it."""
    annotation = _parsed(text)
    assert annotation.objects == ()
    (fault,) = annotation.faults
    return fault.kind, fault.line


# Reading


def test_an_object_is_read_with_its_lines() -> None:
    annotation = _parsed(GOOD)
    assert annotation.size_hw == (80, 100) and annotation.faults == ()
    assert annotation.objects == (voc_xml.AnnotatedObject("cat", (11.0, 21.0, 30.5, 40.0), True, 5, 7),)


def test_no_objects_are_no_fault() -> None:
    annotation = _parsed("<annotation><size><width>9</width><height>8</height></size></annotation>")
    assert annotation == voc_xml.Annotation((8, 9), (), ())


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("<name>cat</name>", "", ("missing-tag", 4)),
        ("<name>cat</name>", "<name> </name>", ("missing-tag", 5)),
        ("<name>cat</name>", "<name>cat</name><name>dog</name>", ("repeated-tag", 4)),
        ("<xmin>11</xmin>", "", ("missing-tag", 7)),
        ("<xmax>30.5</xmax>", "<xmax>30.5</xmax><xmax>9</xmax>", ("repeated-tag", 4)),
        ("<xmax>30.5</xmax>", "<xmax>NaN</xmax>", ("not-a-number", 9)),
        ("<xmax>30.5</xmax>", "<xmax/>", ("not-a-number", 9)),
        ("</bndbox>", "</bndbox><bndbox></bndbox>", ("repeated-tag", 4)),
    ],
)
def test_an_object_with_a_fault_is_left_out_and_its_line_named(old: str, new: str, expected: tuple) -> None:
    assert old in GOOD
    assert _fault(GOOD.replace(old, new)) == expected


def test_an_object_without_a_box_is_a_fault() -> None:
    assert _fault(re.sub(r"(?s)<bndbox>.*</bndbox>", "", GOOD)) == ("missing-tag", 4)


def test_text_may_be_padded_and_hold_entities() -> None:
    text = GOOD.replace("<xmin>11<", "<xmin>\n 11 \n<").replace(">cat<", ">cat &amp; d&#111;g<")
    assert _parsed(text).objects[0].name == "cat & dog"
    assert _parsed(text).objects[0].corners[0] == 11


def test_encodings_and_byte_order_marks_are_understood() -> None:
    text = GOOD.replace("cat", "Straße").partition("\n")[2]
    latin = ('<?xml version="1.0" encoding="ISO-8859-1"?>\n' + text).encode("latin-1")
    for data in (text.encode("utf-8-sig"), text.encode("utf-16"), latin):
        assert voc_xml.parse(data, file=FILE).objects[0].name == "Straße"


@pytest.mark.parametrize("width", ["-5", "1.5", "1e-1", "1e99", "x", ""])
def test_a_size_that_is_none_is_named(width: str) -> None:
    annotation = _parsed(GOOD.replace("<width>100", f"<width>{width}"))
    assert annotation.size_hw is None and len(annotation.objects) == 1
    assert [(fault.kind, fault.line) for fault in annotation.faults] == [("not-a-number", 3)]


@pytest.mark.parametrize(("written", "value"), [("+10", 10.0), ("1e1", 10.0), ("1.5E+01", 15.0), (".5", 0.5)])
def test_signs_and_exponents_are_numbers(written: str, value: float) -> None:
    text = GOOD.replace("<xmin>11", f"<xmin>{written}").replace("<width>100", "<width>+1e2")
    annotation = _parsed(text)
    assert (annotation.objects[0].corners[0], annotation.size_hw, annotation.faults) == (value, (80, 100), ())


def test_an_annotation_without_a_size_is_a_note() -> None:
    annotation = _parsed(re.sub(r"<size>.*?</size>", "", GOOD, flags=re.DOTALL))
    assert annotation.size_hw is None and len(annotation.objects) == 1
    assert [(fault.kind, fault.severity) for fault in annotation.faults] == [("filled-field", "note")]


# Files that are refused


@pytest.mark.parametrize(
    "doctype",
    [
        "<!DOCTYPE annotation>",
        '<!DOCTYPE annotation SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE annotation [<!ENTITY a "b"><!ENTITY c "&a;&a;&a;">]>',
    ],
)
def test_a_document_type_is_refused(doctype: str) -> None:
    failure = _failure(GOOD.replace("<annotation>", f"{doctype}\n<annotation>", 1))
    assert (failure.kind, failure.line, failure.exit_code) == ("forbidden-xml", 2, 65)


def test_depth_is_capped() -> None:
    deep = voc_xml.MAX_DEPTH - 1
    assert len(_parsed(GOOD.replace("<object>", "<x>" * deep + "</x>" * deep + "<object>")).objects) == 1
    failure = _failure(GOOD.replace("<object>", "<x>" * 100_000))
    assert (failure.kind, failure.line) == ("too-large-xml", 4)


def test_objects_and_bytes_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voc_xml, "MAX_OBJECTS", 3)
    start, body, end = re.split(r"(?s)(<object>.*</object>)", GOOD)
    assert len(_parsed(start + body * 3 + end).objects) == 3
    assert _failure(start + body * 4 + end).kind == "too-large-xml"
    monkeypatch.setattr(voc_xml, "MAX_ELEMENTS", 5)
    assert _failure(GOOD).kind == "too-large-xml"
    monkeypatch.setattr(voc_xml, "MAX_BYTES", 10)
    assert _failure(GOOD).kind == "too-large-xml"


def test_what_is_not_well_formed_is_named_by_its_line() -> None:
    failure = _failure(GOOD.replace("</bndbox>", "</box>"))
    assert (failure.kind, failure.line) == ("bad-xml", 10)
    assert "mismatched tag" in failure.message
    assert _failure(b"").kind == "bad-xml"
    assert _failure(b"\xff\xd8\xff\xe0JFIF").kind == "bad-xml"
    assert _failure(GOOD.replace("cat", "&undefined;")).line == 5


def test_xml_of_something_else_is_refused() -> None:
    failure = _failure('<?xml version="1.0"?>\n<svg></svg>')
    assert (failure.kind, failure.line) == ("not-an-annotation", 2)


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "punycode", "unicode_escape", "utf-7", "shift_jis"])
def test_an_encoding_that_cannot_be_read_is_named(encoding: str) -> None:
    failure = _failure(f'<?xml version="1.0" encoding="{encoding}"?><annotation></annotation>')
    assert (failure.kind, failure.line) == ("bad-xml", 1)


# Writing

_EDGES = st.just(0.0) | st.floats(2.0**-28, 10_000, width=32)
_NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=20).filter(str.strip)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_NAMES, st.tuples(_EDGES, _EDGES, _EDGES, _EDGES), st.booleans()), max_size=5))
def test_reading_what_was_written_gives_the_same(objects: list) -> None:
    boxes = np.array([box for _, box, _ in objects], np.float32).reshape(-1, 4)
    names = [name for name, _, _ in objects]
    difficult = np.array([hard for _, _, hard in objects], bool)
    annotation = _parsed(voc_xml.annotation_xml("a & b.jpg", (80, 100), boxes, names, difficult))
    assert annotation.size_hw == (80, 100) and annotation.faults == ()
    assert [item.name for item in annotation.objects] == names
    assert [item.difficult for item in annotation.objects] == difficult.tolist()
    corners = np.array([item.corners for item in annotation.objects]).reshape(-1, 4)
    np.testing.assert_array_equal((corners - [1, 1, 0, 0]).astype(np.float32), boxes)


def test_corners_are_written_1_based_and_inclusive() -> None:
    text = voc_xml.annotation_xml("a.jpg", (80, 100), np.array([[0.0, 0.0, 100.0, 80.0]]), ["cat"])
    assert "<xmin>1</xmin><ymin>1</ymin><xmax>100</xmax><ymax>80</ymax>" in text


def test_the_smallest_number_is_written_so_that_it_can_be_read() -> None:
    text = voc_xml.annotation_xml("a.jpg", (80, 100), np.array([[0.0, 0.0, 5e-324, 1e-300]]), ["cat"])
    assert _parsed(text).objects[0].corners == (1.0, 1.0, 5e-324, 1e-300)


def test_a_name_that_xml_cannot_carry_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        voc_xml.annotation_xml("a.jpg", (80, 100), np.array([[0.0, 0.0, 1.0, 1.0]]), ["c\x00t"])
    assert caught.value.kind == "bad-name"


def test_counts_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="argument"):
        voc_xml.annotation_xml("a.jpg", (80, 100), np.zeros((2, 4)), ["cat"])


# Damage

_PIECES = st.sampled_from(
    b"< > </ /> & <object> </object> <bndbox> <!DOCTYPE [ ]> <![CDATA[ ]]> <name> </annotation> <annotation> <size> "
    b"nan 1e999 &#0; <? encoding='utf-7' encoding='big5' \x00 \xff \xef\xbb\xbf \xff\xfe".split(b" ")
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), _PIECES | st.binary(max_size=6)), max_size=6))
def test_damaged_xml_is_parsed_or_refused_by_a_data_error(edits: list[tuple[int, int, bytes]]) -> None:
    data = GOOD.encode()
    for place, removed, inserted in edits:
        data = data[:place] + inserted + data[place + removed :]
    try:
        annotation = voc_xml.parse(data, file=FILE)
    except DataError as error:
        assert error.file == FILE and "\n" not in str(error)
    else:
        assert all(np.isfinite(item.corners).all() for item in annotation.objects)
        assert all("\n" not in str(fault) for fault in annotation.faults)
