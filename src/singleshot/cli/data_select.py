"""`singleshot data select`: chooses the images of a pool that are worth labelling next."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from singleshot.cli import outputs
from singleshot.cli.model_options import Device
from singleshot.errors import CannotCreateError, os_errors
from singleshot.storage import atomic

JSON_KEYS = ("pool", "left_out", "images")
SHOWN = 10


def select(
    pool: Annotated[Path, typer.Argument(help="Folder of images without labels; it is never written to.")],
    weights: Annotated[str, typer.Option(help="The detector trained so far: a weights file or a known name.")],
    count: Annotated[int, typer.Option(help="Images to choose.", min=1)] = 50,
    labelled: Annotated[
        Path | None, typer.Option(help="Folder of images that have labels already: chosen ones differ from them too.")
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Use images in subfolders too.")] = False,
    out: Annotated[Path, typer.Option(help="List of the chosen images, the first to label first.")] = Path(
        "selected.txt"
    ),
    copy: Annotated[Path | None, typer.Option(help="Copy the chosen images into this new folder.")] = None,
    device: Device = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the choice to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Choose the images most worth labelling next: the detector is unsure of them, and they differ."""
    from singleshot.cli import terminal
    from singleshot.prediction import select as selecting

    inputs = [pool, labelled]
    outputs.check_outside(pool, out, json_file, copy)
    outputs.check(out, json_file=json_file, json_keys=JSON_KEYS, inputs=inputs, overwrite=overwrite)
    if copy is not None and (copy.is_file() or (copy.is_dir() and any(copy.iterdir()))):
        raise CannotCreateError("already exists", remedy="Name a new folder for --copy", file=copy)
    with terminal.bar("reading", 0) as advance:
        chosen = selecting.select(
            pool,
            weights,
            count,
            labelled=() if labelled is None else labelled,
            recursive=recursive,
            device=device,
            on_image=advance,
        )
    terminal.warn_left_out(chosen.faults)
    atomic.write_text(out, "".join(f"{image}\n" for image in chosen.images))
    if copy is not None:
        with atomic.new_folder(copy) as folder, os_errors(copy, "write"):
            for image in chosen.images:
                target = folder / image.relative_to(pool)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(image, target)
    outputs.write_json(json_file, chosen.as_json())
    for image, value in list(zip(chosen.images, chosen.uncertainties, strict=True))[:SHOWN]:
        terminal.show(f"{value:6.2f}  {image}")
    if len(chosen.images) > SHOWN:
        terminal.show("…")
    terminal.show(f"{len(chosen.images)} of {chosen.pool} images chosen: {out}")
    if copy is not None:
        terminal.show(f"copies: {copy}")
