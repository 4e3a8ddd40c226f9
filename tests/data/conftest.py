"""A small data folder in Pascal VOC layout, to be spoiled in one way at a time."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from singleshot.data.check import audit
from singleshot.data.check.audit import Audit

Corners = tuple[object, object, object, object]


class VocFolder:
    """Builds and audits. Every picture differs from every other one, and objects begin at line 3 of their file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pictures = root / "JPEGImages"
        self.annotations = root / "Annotations"
        self.lists = root / "ImageSets" / "Main"
        for folder in (self.pictures, self.annotations, self.lists):
            folder.mkdir(parents=True)
        self._drawn = 0

    def pixels(self, size_hw: tuple[int, int] = (40, 60)) -> np.ndarray:
        self._drawn += 1
        coarse = np.random.default_rng(self._drawn).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        return np.asarray(Image.fromarray(coarse).resize(size_hw[::-1], Image.Resampling.BICUBIC))

    def encoded(self, kind: str = "JPEG", size_hw: tuple[int, int] = (40, 60), **options: Any) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(self.pixels(size_hw)).save(stream, kind, **options)
        return stream.getvalue()

    def picture(self, name: str, data: bytes | None = None) -> Path:
        path = self.pictures / name
        path.write_bytes(self.encoded() if data is None else data)
        return path

    def annotate(
        self, image_id: str, *objects: tuple[str, Corners], size_hw: tuple[int, int] = (40, 60), more: str = ""
    ) -> Path:
        lines = ["<annotation>", f"<size><width>{size_hw[1]}</width><height>{size_hw[0]}</height></size>"]
        for name, (xmin, ymin, xmax, ymax) in objects:
            corners = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
            lines.append(f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>")
        path = self.annotations / f"{image_id}.xml"
        path.write_text("\n".join([*lines, "</annotation>"]), encoding="utf-8")
        return path

    def split(self, name: str, ids: Iterable[str] | bytes) -> Path:
        path = self.lists / f"{name}.txt"
        path.write_bytes(ids if isinstance(ids, bytes) else "".join(f"{each}\n" for each in ids).encode())
        return path

    def check(self, **options: Any) -> Audit:
        return audit.audit(self.root, **options)

    def faults(self, **options: Any) -> list[tuple[str, str, str, int | None]]:
        """Kind, severity, file name and line of every fault; each message is one line that ends as a sentence."""
        found = self.check(**options).faults
        assert all("\n" not in str(fault) and fault.message.endswith((".", "?")) for fault in found), found
        return [(fault.kind, fault.severity, fault.file.name, fault.line) for fault in found]

    def message(self, **options: Any) -> str:
        """The message of the only fault."""
        (fault,) = self.check(**options).faults
        return fault.message


@pytest.fixture
def folder(tmp_path: Path) -> VocFolder:
    """Pictures of 60×40: `a` with a cat, `b` with a dog, `c` without objects. `train` holds a and c, `test` holds b."""
    made = VocFolder(tmp_path / "VOC2007")
    for image_id in "abc":
        made.picture(f"{image_id}.jpg")
    made.annotate("a", ("cat", (1, 1, 60, 40)))
    made.annotate("b", ("dog", (11, 6, 20, 30)))
    made.annotate("c")
    made.split("train", "ac")
    made.split("test", "b")
    return made


def close(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may look into the folder any more, not even root, to whom permissions say nothing."""
    is_dir, iterdir, scandir = Path.is_dir, Path.iterdir, os.scandir

    def refuse(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    def closed_is_dir(path: Path, **options: bool) -> bool:
        return refuse(path) if folder in path.parents else is_dir(path, **options)

    monkeypatch.setattr(Path, "is_dir", closed_is_dir)
    monkeypatch.setattr(Path, "iterdir", lambda path: refuse(path) if path == folder else iterdir(path))
    monkeypatch.setattr(os, "scandir", lambda path=".": refuse(path) if Path(path) == folder else scandir(path))
