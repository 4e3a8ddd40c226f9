"""`singleshot data make streets` and `data fetch`: data to begin with, drawn here or downloaded from its publisher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from singleshot.errors import UsageError


def make(
    what: Annotated[Literal["streets"], typer.Argument(help="What to draw: streets.")],
    out: Annotated[Path, typer.Option(help="The new folder.")],
    kind: Annotated[
        Literal["detection", "segmentation", "video"], typer.Option(help="Boxes, masks, or videos with tracks.")
    ] = "detection",
    count: Annotated[
        int | None, typer.Option(help="Number of images (default 1050) or videos (default 1).", min=1)
    ] = None,
    size: Annotated[str, typer.Option(help="Image size, as HxW.")] = "300x400",
    seed: Annotated[int, typer.Option(help="Equal seeds give equal data.", min=0)] = 0,
    frames: Annotated[int, typer.Option(help="Frames per video.", min=1)] = 125,
    fps: Annotated[float, typer.Option(help="Frames per second of a video.", min=0.01, max=1000)] = 12.5,
    container: Annotated[Literal["mp4", "png"] | None, typer.Option(help="Video files, or folders of frames.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that draw; one per core if not given.", min=1)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace images drawn earlier; not videos.")] = False,
) -> None:
    """Draw street scenes with exact annotations: images with boxes and masks, or videos with tracks."""
    from singleshot.cli import terminal
    from singleshot.cli.train import parse_size
    from singleshot.streets import video, write

    del what  # there is only one
    size_hw = parse_size(size)
    if kind == "video":
        videos = count or 1
        with terminal.bar("drawing frames", videos * frames) as advance:
            video.make_videos(
                out,
                seed=seed,
                videos=videos,
                count=frames,
                fps=fps,
                size_hw=size_hw,
                container=container,
                on_frame=advance,
            )
        noun = "video" if videos == 1 else "videos"
        terminal.show(f"{videos} {noun} of {frames} frames, with tracks: {out}")
        return
    if container is not None:
        raise UsageError("--container is for videos", remedy="Pass --kind video, or omit it")
    counts = shares(count) if count is not None else (write.TRAIN, write.VAL, write.TEST)
    total = sum(counts)
    with terminal.bar("drawing scenes", total) as advance:
        write.make(
            out,
            seed=seed,
            train=counts[0],
            val=counts[1],
            test=counts[2],
            size_hw=size_hw,
            workers=workers,
            overwrite=overwrite,
            on_progress=lambda done, _total: advance(done),
        )
    terminal.show(f"{total} images ({counts[0]} train, {counts[1]} val, {counts[2]} test) with boxes and masks: {out}")
    how = " --model fcn8s-fine2 --data-format masks" if kind == "segmentation" else ""
    terminal.show(f"next: singleshot train --data {out}{how}")


def fetch(
    names: Annotated[list[str], typer.Argument(help="voc07, voc12 or both.")],
    out: Annotated[Path, typer.Option(help="The folder in which to create VOCdevkit.")],
    mirror: Annotated[
        str | None, typer.Option(help="URL of a folder with the archives, instead of the publisher's.")
    ] = None,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Do not delete the archives after unpacking.")
    ] = False,
) -> None:
    """Download Pascal VOC: 0.9 GB for 2007, 2 GB for 2012. Run it again to resume an interrupted download."""
    from singleshot.cli import terminal
    from singleshot.data import fetch as fetching

    with terminal.downloads() as observer:
        folders = fetching.fetch(names, out, mirror=mirror, keep_archives=keep_archives, observer=observer)
    for folder in folders:
        terminal.show(f"ready: {folder}")
    years = {folder.name for folder in folders}
    union = "07+12" if {"VOC2007", "VOC2012"} <= years else "2007_trainval" if "VOC2007" in years else "trainval"
    splits = f"--train-split {union} --val-split none"
    line = f"next: singleshot train ssd300_voc0712 --weights vgg16-reducedfc --data {out} {splits}"
    terminal.show(line)


def shares(count: int) -> tuple[int, int, int]:
    """Split a number of images into train, val and test: about 76, 5 and 19 %, with at least one of each if possible.

    >>> shares(1050), shares(4), shares(1)
    ((800, 50, 200), (2, 1, 1), (1, 0, 0))
    """
    if count < 3:
        return count, 0, 0
    test, val = max(1, round(count * 200 / 1050)), max(1, round(count * 50 / 1050))
    return count - test - val, val, test
