"""An image of 60×40 pixels for parsers that want one beside their file."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def small_image(path: Path) -> None:
    """Write it, unless it is there."""
    if not path.exists():
        Image.new("RGB", (60, 40)).save(path)
