"""`singleshot predict`: what a detector sees in pictures, drawn onto copies and written as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from singleshot import durable
from singleshot.cli.predict_masks import predict_masks
from singleshot.errors import DataError, InputMissingError, NotPermittedError, SingleshotError, StorageError, UsageError

JSON_KEYS = ("threshold", "pictures")
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}


def predict(
    weights: Annotated[Path, typer.Argument(help="A weights file.")],
    sources: Annotated[list[Path], typer.Argument(help="Pictures and folders of pictures.")],
    out: Annotated[Path | None, typer.Option(help="Write annotated copies into this folder.")] = None,
    threshold: Annotated[float, typer.Option(help="Only what scores at least this.", min=0, max=1)] = 0.5,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all detections to this file.")] = None,
    save: Annotated[str | None, typer.Option(help="Of a segmenter, beside overlays: ids,colours,probability.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Find objects in pictures, or with a segmenter give every pixel a class.

    A picture that cannot be read is named, the rest go on, and the exit code says so.
    """
    from singleshot import pictures
    from singleshot.cli import outputs, progress
    from singleshot.drawing import draw
    from singleshot.prediction import sinks
    from singleshot.prediction.opening import load
    from singleshot.prediction.segmenter import Segmenter

    files = _files(sources)
    copies = sinks.targets(files, out) if out is not None else {}
    inputs = [weights, *files]
    targets = list(copies.values())
    outputs.check(*targets, inputs=inputs, overwrite=overwrite)
    outputs.check(json_file=json_file, json_keys=JSON_KEYS, inputs=inputs, reserved=targets, overwrite=overwrite)
    detector = load(weights)
    if isinstance(detector, Segmenter):
        kinds = save.split(",") if save else []
        predict_masks(detector, files, out=out, save=kinds, json_file=json_file, overwrite=overwrite)
        return
    if save is not None:
        raise UsageError("--save is for segmenters", remedy="Leave it out, or name a segmenter's weights")
    rows: list[dict[str, Any]] = []
    failures: list[SingleshotError] = []
    with progress.bar("pictures", len(files)) as advance:
        for done, file in enumerate(files, start=1):
            try:
                image = pictures.read(file)
            except (DataError, InputMissingError, NotPermittedError, StorageError) as error:
                failures.append(error)
                progress.warn(str(error))
                rows.append({"file": str(file), "error": str(error)})
                advance(done)
                continue
            found = detector.predict(image, threshold=threshold)
            rows.append({"file": str(file), "size_hw": list(found.size_hw), "detections": found.as_json()})
            if file in copies:
                sinks.write_picture(copies[file], draw(image, found))
            advance(done)
            names = ", ".join(f"{row['class']} {row['score']:.2f}" for row in found.as_json()) or "nothing"
            progress.out.print(f"{file}: {names}", soft_wrap=True, markup=False)
    if json_file is not None:
        durable.write_text(json_file, json.dumps({"threshold": threshold, "pictures": rows}, indent=2) + "\n")
    if failures:
        progress.warn(f"{len(failures)} of {len(files)} pictures could not be read")
        raise typer.Exit(max(error.exit_code for error in failures))


def _files(sources: list[Path]) -> list[Path]:
    """The pictures that were meant: files as named, folders by their pictures in order of name."""
    files: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES)
            if not inside:
                raise InputMissingError("no pictures in this folder", remedy="Name a folder of pictures", file=source)
            files += inside
        elif source.exists():
            files.append(source)
        else:
            raise InputMissingError("no such picture", remedy="Check the path", file=source)
    return files
