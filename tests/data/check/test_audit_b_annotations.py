"""Annotations in XML: rows B1 to B22 of the fault matrix."""

from __future__ import annotations

import re
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.data.boxes import voc, voc_xml
from singleshot.data.boxes.check_box import INCLUSIVE, USABLE, check_box
from singleshot.data.check import boxes
from singleshot.data.faults import KINDS
from singleshot.errors import DataError

GOOD = "<annotation>\n<size>\n<width>60</width>\n<height>40</height>\n</size>\n<object>\n<name>cat</name>\n<bndbox>\n"
GOOD += "<xmin>3</xmin>\n<ymin>4</ymin>\n<xmax>30</xmax>\n<ymax>20</ymax>\n</bndbox>\n</object>\n</annotation>"


def _spoil(folder, text: str | bytes) -> list[tuple[str, str, str, int | None]]:
    """The faults of the folder with that text in a.xml."""
    (folder.annotations / "a.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder.faults()


def _draw(folder, *corners: object, name: str = "cat") -> list[tuple[str, str, str, int | None]]:
    """The faults of the folder with one box in a.xml, which is in its line 3."""
    folder.annotate("a", (name, corners))
    return folder.faults()


def test_b1_xml_cut_at_any_byte_is_named_with_its_line() -> None:
    data = GOOD.encode()
    assert len(voc_xml.parse(data, file=Path("a.xml")).objects) == 1
    for length in range(len(data)):
        with pytest.raises(DataError) as caught:
            voc_xml.parse(data[:length], file=Path("a.xml"))
        assert caught.value.kind == "bad-xml"
        assert caught.value.line == data[:length].count(b"\n") + 1


def test_b1_a_mismatched_tag_is_named_with_line_and_column(folder) -> None:
    assert _spoil(folder, GOOD.replace("</bndbox>", "</box>")) == [("bad-xml", "fatal", "a.xml", 13)]
    assert "mismatched tag, column 3" in folder.message()


@pytest.mark.parametrize(
    "document_type",
    [
        "<!DOCTYPE annotation>",
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a [<!ENTITY b "' + "x" * 10_000 + '">]>',
        '<!DOCTYPE a [<!ENTITY b0 "lol">'
        + "".join(f'<!ENTITY b{i} "{f"&b{i - 1};" * 10}">' for i in range(1, 20))
        + "]>",
        '<!DOCTYPE a [<!ENTITY % b SYSTEM "http://127.0.0.1/b.dtd"> %b;]>',
    ],
    ids=["plain", "file", "quadratic", "laughs", "parameter"],
)
def test_b2_a_document_type_is_refused_at_once_and_in_little_memory(folder, document_type: str) -> None:
    text = f"{document_type}\n{GOOD.replace('cat', 'c&b;t')}"
    start = time.perf_counter()
    tracemalloc.start()
    with pytest.raises(DataError, match=r"DTD\) is not allowed") as caught:
        voc_xml.parse(text.encode(), file=Path("a.xml"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.line == 1 and time.perf_counter() - start < 0.05 and peak < 10e6
    assert _spoil(folder, text) == [("forbidden-xml", "fatal", "a.xml", 1)]


def test_b3_too_many_bytes_and_too_many_objects_are_refused(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (voc_xml.MAX_BYTES, voc_xml.MAX_OBJECTS) == (10 * 2**20, 100_000)
    start = time.perf_counter()
    assert _spoil(folder, b"<annotation>" + b" " * (11 << 20)) == [("too-large-xml", "fatal", "a.xml", None)]
    assert time.perf_counter() - start < 2
    monkeypatch.setattr(voc_xml, "MAX_OBJECTS", 3)
    start_text, one, end = re.split(r"(?s)(<object>.*</object>)", GOOD)
    assert _spoil(folder, start_text + (one + "\n") * 4 + end) == [("too-large-xml", "fatal", "a.xml", 6 + 3 * 9)]


def test_b4_deep_nesting_is_refused_and_crashes_nothing(folder) -> None:
    assert _spoil(folder, "<annotation>" + "<a>\n" * 100_000) == [("too-large-xml", "fatal", "a.xml", 64)]


@pytest.mark.parametrize(
    ("tag", "line", "kinds"),
    [
        ("bndbox", 6, {"missing-tag"}),
        ("name", 6, {"missing-tag"}),
        ("width", 2, {"missing-tag"}),
        ("height", 2, {"missing-tag"}),
        *((corner, 8, {"missing-tag"}) for corner in ("xmin", "ymin", "xmax", "ymax")),
    ],
)
def test_b5_a_missing_tag_is_named_with_its_line(folder, tag: str, line: int, kinds: set[str]) -> None:
    text = re.sub(rf"(?s)<{tag}>(.*?)</{tag}>", lambda found: "\n" * found[0].count("\n"), GOOD)
    assert _spoil(folder, text) == [(kind, "fatal", "a.xml", line) for kind in kinds]
    assert f"<{tag}>" in folder.message()


def test_b5_a_missing_size_is_a_note_and_the_images_own_is_used(folder) -> None:
    assert _spoil(folder, re.sub(r"(?s)<size>.*?</size>", "", GOOD)) == [("filled-field", "note", "a.xml", 1)]
    assert voc.read(folder.root, "train").samples[0].size_hw == (40, 60)


def test_b6_fractional_corners_are_exact_and_clean(folder) -> None:
    """Corners of VOC2012's 2011_003353, which has them."""
    corners = (45.70000076293945, 1.5, 59.25, 39.8125)
    assert _draw(folder, *corners) == []
    (box,) = voc.read(folder.root, "train").samples[0].boxes_xyxy.tolist()
    assert box == [corners[0] - 1, 0.5, 59.25, 39.8125]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e400", "1_0", "１０", "0x10", "1,5", "", "++5", "٣"])
def test_b7_what_is_no_plain_number_is_refused(folder, number: str) -> None:
    assert _draw(folder, number, 4, 30, 20) == [("not-a-number", "fatal", "a.xml", 3)]


@pytest.mark.parametrize("corners", [(9, 8, 9, 8), (9, 8, 9, 20), (9, 8, 20, 8)])
def test_b8_a_box_without_width_or_height_is_refused(folder, corners: tuple[int, ...]) -> None:
    assert _draw(folder, *corners) == [("zero-size-box", "fatal", "a.xml", 3)]
    assert len(voc.read(folder.root, "train").samples[0].boxes_xyxy) == 0


def test_b9_an_inverted_box_is_refused_or_put_upright_and_counted(folder) -> None:
    assert _draw(folder, 30, 20, 3, 4) == [("inverted-box", "fatal", "a.xml", 3)]
    assert "--fix-boxes" in folder.message()
    assert len(voc.read(folder.root, "train").samples[0].boxes_xyxy) == 0
    fixed = voc.read(folder.root, "train", fix_boxes=True)
    assert fixed.samples[0].boxes_xyxy.tolist() == [[2, 3, 30, 20]]
    assert [(fault.kind, fault.severity, fault.line) for fault in fixed.faults] == [("swapped-box", "warning", 3)]


def test_b10_a_box_over_the_edge_is_clipped_exactly_and_counted(folder) -> None:
    assert _draw(folder, 1, 1, 60, 40) == []
    assert _draw(folder, 0, 1, 61, 40) == [("clipped-box", "warning", "a.xml", 3)]
    assert voc.read(folder.root, "train").samples[0].boxes_xyxy.tolist() == [[0, 0, 60, 40]]


def test_b11_a_box_outside_is_left_out_and_counted(folder) -> None:
    assert _draw(folder, 61, 1, 70, 40) == [("outside-box", "warning", "a.xml", 3)]
    assert len(voc.read(folder.root, "train").samples[0].boxes_xyxy) == 0


_EDGE = st.floats(-50, 100, allow_nan=False).map(lambda value: round(value, 2))


@settings(max_examples=150, deadline=None)
@given(st.tuples(_EDGE, _EDGE, _EDGE, _EDGE), st.booleans())
def test_b8_to_b11_any_box_is_kept_within_the_image_or_named(corners: tuple, fix: bool) -> None:
    xmin, ymin, xmax, ymax = corners
    if fix:  # as --fix-boxes does
        xmin, ymin, xmax, ymax = min(xmin, xmax), min(ymin, ymax), max(xmin, xmax), max(ymin, ymax)
    fault = check_box((xmin - 1, ymin - 1, xmax, ymax), (40, 60), INCLUSIVE)
    if fault is None or fault.kind in USABLE:
        assert max(xmin - 1, 0) < min(xmax, 60) and max(ymin - 1, 0) < min(ymax, 40)
    elif fault.kind != "outside-box":
        assert KINDS[fault.kind][0] == "fatal" and not (fix and fault.kind == "inverted-box")


def test_b12_a_box_below_one_pixel_of_the_input_is_kept_and_noted(folder) -> None:
    """Worked by hand: 1.5 px of a 600 px wide picture are 0.75 px of an input of 300."""
    folder.picture("a.jpg", folder.encoded(size_hw=(40, 600)))
    folder.annotate("a", ("cat", (10, 1, 10.5, 40)), size_hw=(40, 600))
    assert folder.faults() == [("tiny-box", "note", "a.xml", 3)]
    assert voc.read(folder.root, "train").samples[0].boxes_xyxy.tolist() == [[9, 0, 10.5, 40]]


def test_b12_where_no_one_knows_the_images_size_no_box_is_called_tiny(folder) -> None:
    folder.picture("a.jpg", b"no picture")
    folder.annotate("a", ("cat", (10, 1, 30, 40)), size_hw=(0, 0))
    assert [fault[0] for fault in folder.faults()] == ["zero-picture-size", "not-a-picture"]


def test_b13_a_size_that_lies_is_named_with_both_and_a_hint(folder) -> None:
    folder.annotate("a", ("cat", (1, 1, 9, 9)), size_hw=(60, 40))
    assert folder.faults() == [("wrong-size", "fatal", "a.xml", 2)]
    assert "40×60" in folder.message() and "60×40" in folder.message() and "swapped" in folder.message()
    folder.annotate("a", ("cat", (1, 1, 9, 9)), size_hw=(80, 120))
    assert "120×80" in folder.message() and "swapped" not in folder.message()


def test_b14_a_size_of_zero_is_read_from_the_image_with_a_warning(folder) -> None:
    folder.annotate("a", ("cat", (1, 1, 99, 9)), size_hw=(0, 0))
    assert (
        folder.faults() == [("clipped-box", "warning", "a.xml", 3), ("zero-picture-size", "warning", "a.xml", 2)][::-1]
    )


def test_b15_an_unknown_class_is_named_with_the_nearest(folder) -> None:
    folder.annotate("b", ("dgo", (1, 1, 9, 9)))
    (fault,) = folder.check(classes=("cat", "dog")).faults
    assert (fault.kind, fault.severity, fault.file.name, fault.line) == ("unknown-class", "fatal", "b.xml", 3)
    assert fault.message == "class 'dgo' is unknown. Near: dog."


def test_b15_a_class_of_one_file_among_many_is_suspicious(folder) -> None:
    for number in range(25):
        folder.picture(f"{number:02}.jpg")
        folder.annotate(f"{number:02}", ("cat", (1, 1, 9, 9)), ("dog", (1, 1, 9, 9)))
    folder.split("val", [f"{number:02}" for number in range(25)])
    assert folder.faults() == []
    folder.annotate("07", ("dgo", (1, 1, 9, 9)))
    assert folder.faults() == [("class-in-one-file", "warning", "07.xml", 3)]


def test_b16_a_space_in_a_class_is_refused_and_another_case_named(folder) -> None:
    folder.annotate("a", (" dog", (1, 1, 9, 9)))
    assert folder.faults() == [("unknown-class", "fatal", "a.xml", 3)]
    folder.annotate("a", ("Dog", (1, 1, 9, 9)))
    assert folder.faults() == [("class-variants", "warning", "Annotations", None)]
    assert folder.check(classes=("cat", "dog")).is_fatal


@pytest.mark.parametrize("text", ["Unspecified", "0.0597", "", "2", "-1", "yes"])
def test_b17_a_strange_difficult_tag_counts_as_zero(folder, text: str) -> None:
    folder.annotate(
        "a", ("cat", (1, 1, 9, 9)), more=f"<difficult>{text}</difficult><pose>{text}</pose><truncated>nan</truncated>"
    )
    assert folder.faults() == []
    assert voc.read(folder.root, "train").samples[0].difficult.tolist() == [False]


def test_b18_an_image_of_difficult_objects_alone_is_noted(folder) -> None:
    folder.annotate("a", ("cat", (1, 1, 9, 9)), more="<difficult>1</difficult>")
    assert folder.faults() == [("all-difficult", "note", "a.xml", 3)]
    assert voc.read(folder.root, "train").samples[0].difficult.tolist() == [True]


def test_b19_an_image_without_objects_is_a_background_image(folder) -> None:
    folder.annotate("a")
    folder.annotate("c", ("cat", (1, 1, 60, 40)))  # a list without any object would be a fault of its own
    assert folder.faults() == []
    assert len(voc.read(folder.root, "train").samples[0].boxes_xyxy) == 0


def test_b20_boxes_of_parts_are_no_objects(folder) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>nan</ymax></bndbox></part>"
    folder.annotate("a", ("cat", (1, 1, 9, 9)), more=part)
    assert folder.faults() == []
    assert folder.check().objects == 2 and folder.check().classes == ("cat", "dog")


def test_b21_identical_boxes_are_counted_and_kept(folder) -> None:
    box = (5, 5, 30, 30)
    folder.annotate("a", ("cat", box), ("dog", box), ("cat", box), ("cat", box))
    assert folder.faults() == [("duplicate-box", "warning", "a.xml", 5), ("duplicate-box", "warning", "a.xml", 6)]
    assert "that of line 3" in folder.check().faults[0].message
    assert len(voc.read(folder.root, "train").samples[0].boxes_xyxy) == 4


@pytest.mark.parametrize("shape", ["apart", "alike", "column"])
def test_b22_ten_thousand_boxes_take_little_time_and_memory(shape: str) -> None:
    rng = np.random.default_rng(0)
    corner = {"apart": rng.uniform(0, 5000, (10_000, 2)), "alike": rng.uniform(0, 1e-3, (10_000, 2))}.get(
        shape, np.stack([np.zeros(10_000), np.arange(10_000) * 20.0], axis=1)
    )
    boxes_xyxy = np.hstack([corner, corner + 20.0])
    start = time.perf_counter()
    tracemalloc.start()
    pairs, _ = boxes.near_duplicates(boxes_xyxy, np.zeros(10_000, np.int64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6 and time.perf_counter() - start < 6  # 10,000 × 10,000 overlaps would be 800 MB
    assert len(pairs) == {"alike": 9_999, "column": 0}.get(shape, len(pairs))
