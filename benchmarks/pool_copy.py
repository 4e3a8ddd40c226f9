"""A copy of a pool of images that is small enough to travel: the grades A and A- alone, the shorter side 224 pixels.

    python -m benchmarks.pool_copy ../shared/data/pool pool224

The grades are those of the table in the pool's SOURCE.md: A and A- are folders whose licence is about these very
images. They come as JPEG in the same folders, with SOURCE.md and the licences; a copy over the limit is refused.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

import cv2

SIDE = 224
QUALITY = 80
LIMIT_MB = 40.0
GRADES = ("A", "A-")
_ROW = re.compile(r"^\| (?P<folder>[a-z0-9_]+) \|.* \| (?P<grade>[AB]-?) \| \d+ \|", re.MULTILINE)


def folders_of(source: str) -> list[str]:
    """The folders of grade A or A- in the text of a SOURCE.md, in its order.

    >>> folders_of("| cats | of mine | MIT | says so | A- | 3 | 0.1 | cats |")
    ['cats']
    """
    return [row["folder"] for row in _ROW.finditer(source) if row["grade"] in GRADES]


def copy(pool: Path, out: Path, side: int = SIDE, limit_mb: float = LIMIT_MB) -> tuple[int, float]:
    """Write the copy; returns the number of images and their megabytes.

    Raises SystemExit for a pool without graded folders, an `out` that exists, an image that cannot be read, and a copy
    over the limit, which is removed again.
    """
    table = pool / "SOURCE.md"
    folders = folders_of(table.read_text(encoding="utf-8")) if table.is_file() else []
    if not folders:
        sys.exit(f"pool_copy: error: {table}: no folder of grade A or A-. Name a pool with a table of grades")
    if out.exists():
        sys.exit(f"pool_copy: error: {out} already exists. Name another folder")
    count = size = 0
    for folder in folders:
        for path in sorted(each for each in (pool / folder).rglob("*") if each.is_file()):
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                sys.exit(f"pool_copy: error: {path}: not an image that OpenCV reads. Remove it from the pool")
            scale = side / min(image.shape[:2])
            if scale < 1:
                width, height = (max(side, round(scale * each)) for each in image.shape[1::-1])
                image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            target = (out / path.relative_to(pool)).with_suffix(".jpg")
            target.parent.mkdir(parents=True, exist_ok=True)
            data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1].tobytes()
            target.write_bytes(data)
            count, size = count + 1, size + len(data)
            if size > limit_mb * 1e6:
                shutil.rmtree(out)
                sys.exit(f"pool_copy: error: {out} would be over {limit_mb:g} MB. Take a smaller --side")
    shutil.copy2(table, out / "SOURCE.md")
    if (pool / "LICENSES").is_dir():
        shutil.copytree(pool / "LICENSES", out / "LICENSES")
    return count, size / 1e6


def main() -> None:
    """Copy and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path, help="folder with SOURCE.md")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels of the shorter side")
    chosen = parser.parse_args()
    count, megabytes = copy(chosen.pool, chosen.out, chosen.side)
    print(f"{count} images, {megabytes:.1f} MB: {chosen.out}")


if __name__ == "__main__":
    main()
