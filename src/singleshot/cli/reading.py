"""Options of every command that reads data: its layout, splits and classes, how large an image, and links."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

DataFormat = Annotated[str | None, typer.Option("--data-format", help="Layout of the folder; recognised if not given.")]
Splits = Annotated[Path | None, typer.Option("--splits", help="Splits made by `singleshot data split`.")]
OnBad = Annotated[Literal["fail", "skip"], typer.Option("--on-bad", help="Stop at faulty data, or skip it.")]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        help="Largest image to read, in pixels; by default SINGLESHOT_MAX_PIXELS, or 50000000.",
        min=1,
    ),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Follow symbolic links that lead out of the data folder.")
]
Classes = Annotated[str | None, typer.Option("--classes", help="Read only these classes, in this order: cat,dog.")]
Rename = Annotated[
    list[str] | None,
    typer.Option("--rename", help="Read a class under another name: old=new; repeatable. Equal names are merged."),
]


def use(max_pixels: int | None, follow_links: bool) -> None:
    """Apply the options that hold for the whole command and the processes that it starts."""
    from singleshot.data import folders
    from singleshot.images import allow_pixels

    allow_pixels(max_pixels)
    if follow_links:
        folders.follow_links()
