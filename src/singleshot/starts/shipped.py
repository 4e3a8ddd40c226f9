"""The weights that come with the package, by name. NOTICE in this folder says where they are from."""

from __future__ import annotations

from pathlib import Path

EVERYDAY = "everyday"
"""A detector of 23 everyday classes; what `singleshot predict photo.jpg` uses."""
BACKBONE = "residual-fine2"
"""A backbone pre-trained by distillation; what `singleshot train` starts from where nothing else is asked for."""
FILES = {EVERYDAY: "everyday.safetensors", BACKBONE: "residual-fine2.safetensors"}


def find(name: str) -> Path | None:
    """Return the shipped file of that name, or None.

    >>> find("everyday").name, find("yesterday")
    ('everyday.safetensors', None)
    """
    return path_of(name) if name in FILES else None


def path_of(name: str) -> Path:
    """Return the shipped file of that name. Raises KeyError where there is none."""
    return Path(__file__).with_name(FILES[name])


def real_images() -> tuple[Path, ...]:
    """Return the two images that come with the weights: a photograph of a cat, and a frame of a dashcam's video."""
    return tuple(Path(__file__).with_name(name) for name in ("cat.jpg", "motorway.jpg"))
