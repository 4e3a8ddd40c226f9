"""Folders of small images with XML for the tests of splits: images of one number look alike, of two do not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from singleshot.data import read
from singleshot.structures import Dataset


def series(root: Path, images: Mapping[str, int], classes: Mapping[str, str] | None = None) -> Dataset:
    """Write images `name.png`, each drawn from its number with a little noise, and read the folder.

    Args:
        root: the folder.
        images: by name, which may begin with folders, the number of the scene.
        classes: by name, the class of its one object; "cat" for the others.
    """
    for index, (name, scene) in enumerate(images.items()):
        grid = np.random.default_rng(scene).integers(0, 255, (9, 9, 3), np.uint8)
        image = cv2.resize(grid, (72, 72), interpolation=cv2.INTER_CUBIC)
        image[index % 72, index // 72] ^= 7  # no two files are equal
        file = root / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), image)
        label = (classes or {}).get(name, "cat")
        box = "<bndbox><xmin>9</xmin><ymin>9</ymin><xmax>40</xmax><ymax>40</ymax></bndbox>"
        size = "<size><width>72</width><height>72</height></size>"
        file.with_suffix(".xml").write_text(
            f"<annotation>{size}<object><name>{label}</name>{box}</object></annotation>"
        )
    return read.read_pool(root)
