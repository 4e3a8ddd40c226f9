"""Options of every command that reads data: which classes, how large an image, and what becomes of links."""

from __future__ import annotations

from typing import Annotated

import typer

MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        help="Largest image that is read, in pixels; 50000000 if not given. Or SINGLESHOT_MAX_PIXELS.",
        min=1,
    ),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Follow symbolic links that lead out of the data folder.")
]
Classes = Annotated[str | None, typer.Option("--classes", help="Read only these classes, in this order: cat,dog.")]
Rename = Annotated[
    list[str] | None,
    typer.Option("--rename", help="Read a class under another name: old=new; repeatable. Equal names are one class."),
]


def use(max_pixels: int | None, follow_links: bool) -> None:
    """Apply the options that hold for the whole command and the processes that it starts."""
    from singleshot.data import folders
    from singleshot.images import allow_pixels

    allow_pixels(max_pixels)
    if follow_links:
        folders.follow_links()
