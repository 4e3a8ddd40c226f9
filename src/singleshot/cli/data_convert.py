"""`singleshot data convert`: a data set in another layout, in a new folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from singleshot.errors import CannotCreateError

if TYPE_CHECKING:
    from singleshot.structures import Dataset


def convert(
    path: Annotated[Path, typer.Argument(help="A data folder.")],
    out: Annotated[Path, typer.Argument(help="The new folder. Nothing is ever replaced.")],
    to: Annotated[Literal["voc", "coco", "yolo"], typer.Option(help="The layout to write.")],
    split: Annotated[
        list[str] | None, typer.Option(help="A split to convert (again for more), or old=new; all if none is named.")
    ] = None,
    data_format: Annotated[str | None, typer.Option(help="What the folder is, if it is not recognised.")] = None,
    on_bad: Annotated[Literal["fail", "skip"], typer.Option(help="At faulty data: refuse, or go on without.")] = "fail",
) -> None:
    """Write a data set in another layout, and say what that layout cannot hold."""
    from singleshot.cli import outputs, progress
    from singleshot.cli.data_reading import read_splits
    from singleshot.data import convert as conversion
    from singleshot.data.faults import refuse_or_list

    outputs.outside(path, out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CannotCreateError("already exists", remedy="Name a folder that is not there yet", file=out)
    datasets = read_splits(path, split, data_format)
    faults = refuse_or_list(datasets, on_bad)
    if split is None and to != "voc":
        datasets, unions = conversion.without_unions(datasets)
        for name in unions:
            progress.warn(f"{name} only puts other splits together and is left out; --split {name} converts it alone")
    with progress.bar("pictures", sum(map(len, datasets))) as advance:
        done = conversion.convert(datasets, to, out, on_picture=advance)
    for note in done.notes:
        progress.warn(note)
    if faults:
        progress.warn(f"{len(faults)} faulty boxes or pictures were left out")
    names = ", ".join(f"{dataset.split} ({len(dataset)})" for dataset in datasets)
    progress.out.print(f"{done.pictures} pictures and {done.boxes} boxes as {to}: {out}", soft_wrap=True, markup=False)
    progress.out.print(f"splits: {names}; classes: {_classes(datasets)}", soft_wrap=True, markup=False)


def _classes(datasets: list[Dataset]) -> str:
    names = datasets[0].label_map.names
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
