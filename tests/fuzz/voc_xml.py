"""Pascal VOC's annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from singleshot.data.boxes import voc_xml
from singleshot.data.boxes.check_box import INCLUSIVE, check_box
from singleshot.data.faults import make_fault
from tests.fuzz.harness import Target, main
from tests.fuzz.laws import check_faults

GOOD = """<?xml version="1.0"?>
<annotation><filename>a.jpg</filename>
  <size><width>100</width><height>80</height><depth>3</depth></size>
  <object><name>cat</name><difficult>1</difficult><truncated>0</truncated>
    <bndbox><xmin>11</xmin><ymin>21.5</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>
  </object>
</annotation>
"""
PIECES = (
    b"<object> </object> <bndbox> </bndbox> <name> </name> <size> </size> <!DOCTYPE [ ]> <!ENTITY %a; &a; &#0; &#x41; "
    b"<![CDATA[ ]]> <!-- --> <?xml encoding='utf-16'?> encoding='big5' <annotation> </annotation> nan 1e999 - . 0 -1 "
    b"99999999999 \xff\xfe \xfe\xff \xef\xbb\xbf \x00 \xd9\xa3 <xmin> </xmin> <difficult> /> xmlns='a' <a:b>"
).split(b" ")


def run(data: bytes, _scratch: Path) -> str:
    """Corners are finite, and the kinds of fault are known."""
    annotation = voc_xml.parse(data, file=Path("a.xml"))
    check_faults(annotation.faults)
    assert annotation.size_hw is None or min(annotation.size_hw) > 0
    kinds = {fault.kind for fault in annotation.faults}
    for item in annotation.objects:
        assert np.isfinite(item.corners).all() and item.name.strip() and item.box_line > 0
        xmin, ymin, xmax, ymax = item.corners
        fault = check_box((xmin - 1, ymin - 1, xmax, ymax), annotation.size_hw or (80, 100), INCLUSIVE)
        if fault is not None:
            check_faults((make_fault(fault.kind, fault.message, Path("a.xml"), item.box_line),))
        kinds.add(fault.kind if fault else "good")
    return "read " + " ".join(sorted(kinds))


TARGET = Target("voc_xml", [GOOD.encode(), GOOD.encode("utf-16"), b"<annotation/>"], PIECES, run)

if __name__ == "__main__":
    main(TARGET)
