"""`singleshot data make streets` and `data fetch`: data for a start, drawn here or from its publisher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from singleshot.errors import UsageError


def make(
    what: Annotated[Literal["streets"], typer.Argument(help="What to draw: streets.")],
    out: Annotated[Path, typer.Option(help="The new folder.")],
    kind: Annotated[
        Literal["detection", "segmentation", "video"], typer.Option(help="Boxes, masks, or moving scenes with tracks.")
    ] = "detection",
    count: Annotated[int | None, typer.Option(help="Pictures in all (1050), or videos (1).", min=1)] = None,
    size: Annotated[str, typer.Option(help="Of pictures, as HxW.")] = "300x400",
    seed: Annotated[int, typer.Option(help="Equal seeds give equal data.", min=0)] = 0,
    frames: Annotated[int, typer.Option(help="Of each video.", min=1)] = 125,
    fps: Annotated[float, typer.Option(help="Frames a second of a video.", min=0.01, max=1000)] = 12.5,
    container: Annotated[Literal["mp4", "png"] | None, typer.Option(help="Video files, or folders of frames.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that draw; one a core if not given.", min=1)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace pictures drawn earlier; not videos.")] = False,
) -> None:
    """Draw street scenes with known truth: pictures with boxes and masks, or videos with tracks."""
    from singleshot.cli import progress
    from singleshot.cli.train import parse_size
    from singleshot.streets import video_files, write

    del what  # there is one thing to draw
    size_hw = parse_size(size)
    if kind == "video":
        videos = count or 1
        with progress.bar("drawing frames", videos * frames) as advance:
            video_files.make_videos(
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
        progress.out.print(f"{videos} {noun} of {frames} frames, with tracks: {out}", soft_wrap=True, markup=False)
        return
    if container is not None:
        raise UsageError("--container is for videos", remedy="Pass --kind video, or leave it out")
    counts = shares(count) if count is not None else (write.TRAIN, write.VAL, write.TEST)
    total = sum(counts)
    with progress.bar("drawing scenes", total) as advance:
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
    progress.out.print(
        f"{total} pictures ({counts[0]} train, {counts[1]} val, {counts[2]} test) with boxes and masks: {out}",
        soft_wrap=True,
        markup=False,
    )
    how = "--data-format masks" if kind == "segmentation" else "--model lite320-fine"
    progress.out.print(f"next: singleshot train --data {out} {how}", soft_wrap=True, markup=False)


def fetch(
    names: Annotated[list[str], typer.Argument(help="voc07, voc12 or both.")],
    out: Annotated[Path, typer.Option(help="The folder, which gets a VOCdevkit in it.")],
    mirror: Annotated[
        str | None, typer.Option(help="Address of a folder with the archives, for the publisher's.")
    ] = None,
    keep_archives: Annotated[bool, typer.Option("--keep-archives", help="Do not delete them in the end.")] = False,
) -> None:
    """Fetch Pascal VOC: 0.9 GB for 2007, 2 GB for 2012. A broken download is continued by the same command."""
    from singleshot.cli import progress
    from singleshot.data import fetch as fetching

    with progress.transfers() as tell:
        folders = fetching.fetch(names, out, mirror=mirror, keep_archives=keep_archives, observer=tell)
    for folder in folders:
        progress.out.print(f"ready: {folder}", soft_wrap=True, markup=False)
    years = {folder.name for folder in folders}
    union = "07+12" if {"VOC2007", "VOC2012"} <= years else "2007_trainval" if "VOC2007" in years else "trainval"
    splits = f"--train-split {union} --val-split none"
    line = f"next: singleshot train ssd300_voc0712 --weights vgg16-reducedfc --data {out} {splits}"
    progress.out.print(line, soft_wrap=True, markup=False)


def shares(count: int) -> tuple[int, int, int]:
    """Pictures for train, val and test: about 76, 5 and 19 of a hundred, and where they suffice one or more of each.

    >>> shares(1050), shares(4), shares(1)
    ((800, 50, 200), (2, 1, 1), (1, 0, 0))
    """
    if count < 3:
        return count, 0, 0
    test, val = max(1, round(count * 200 / 1050)), max(1, round(count * 50 / 1050))
    return count - test - val, val, test
