"""CSV files with boxes."""

from __future__ import annotations

from pathlib import Path

from singleshot.data.boxes import csv_boxes
from tests.fuzz.harness import Target, main
from tests.fuzz.images import small_image
from tests.fuzz.laws import check_dataset

TUTORIAL = b"filename,width,height,class,xmin,ymin,xmax,ymax\na.png,60,40,cat,1,2,30,20\na.png,60,40,dog,5,5,9,9\n"
OPEN_IMAGES = b"ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\na,Cat,0.1,0.5,0,1,0\na,Dog,0,1,0.2,0.25,1\n"
PIECES = (
    b'filename class xmin XMin ymax ImageID a.png a ../a.png b.png cat "cat" " "" , ,, 1e9 -1 nan inf 0 0.5 1_0 '
    b"\xd9\xa1 \r \r\n \n \x00 \x0b \x1c \x85 \xe2\x80\xa8 \xff \xef\xbb\xbf"
).split(b" ")


def run(data: bytes, scratch: Path) -> str:
    """What comes out obeys the law of boxes."""
    small_image(scratch / "a.png")
    file = scratch / "train_labels.csv"
    file.write_bytes(data)
    return check_dataset(csv_boxes.read(file, "all"))


TARGET = Target("csv_boxes", [TUTORIAL, OPEN_IMAGES], PIECES, run)

if __name__ == "__main__":
    main(TARGET)
