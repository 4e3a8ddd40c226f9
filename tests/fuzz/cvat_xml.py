"""CVAT's `annotations.xml`."""

from __future__ import annotations

from pathlib import Path

from singleshot.data.boxes import cvat
from tests.fuzz.harness import Target, main
from tests.fuzz.images import small_image
from tests.fuzz.laws import check_dataset

GOOD = b"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels><label><name>cat</name></label></labels></task></meta>
  <image id="0" name="x/a.png" subset="Train" width="60" height="40">
    <box label="cat" occluded="0" xtl="1.5" ytl="2.00" xbr="30.25" ybr="20.00" rotation="15.0" z_order="0"></box>
    <polygon label="dog" points="1.00,2.00;3.00,30.00;9.50,1.00"><attribute name="x">1</attribute></polygon>
    <ellipse label="dog" cx="20.0" cy="20.0" rx="5.0" ry="9.0"/>
    <mask label="cat" rle="3, 5" left="2" top="4" width="4" height="2"/>
    <points label="cat" points="1,2"/>
  </image>
</annotations>
"""
PIECES = (
    b"<box <image <track <polygon <ellipse <mask </image> /> label= xtl= points= rotation= subset= name= width= "
    b'"nan" "1e99" "-1" "" "60" 1,2; ; , &#0; &amp; <!DOCTYPE <!-- --> <![CDATA[ ]]> encoding="x" \xff \xef\xbb\xbf'
).split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """What comes out obeys the law of boxes."""
    small_image(scratch / "a.png")
    file = scratch / "annotations.xml"
    file.write_bytes(data)
    return check_dataset(cvat.read(file, (cvat.splits(file) or ["all"])[0]))


TARGET = Target("cvat_xml", [GOOD], PIECES, run)

if __name__ == "__main__":
    main(TARGET)
