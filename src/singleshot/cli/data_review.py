"""`singleshot data review`: lists where a detector and the annotations disagree most, for a person to look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from singleshot.cli import outputs, reading
from singleshot.cli.model_options import Device
from singleshot.cli.reading import DataFormat, FollowLinks, MaxPixels, OnBad, Splits
from singleshot.errors import CannotCreateError, UsageError

if TYPE_CHECKING:
    from singleshot.reporting.review import Review

JSON_KEYS = ("images", "annotations", "counts", "rows")
KINDS = ("labelme", "labelstudio", "cvat", "voc", "yolo", "coco")
SHOWN = 10


def review(
    data: Annotated[Path, typer.Option(help="Folder with annotated images; it is never written to.")],
    run: Annotated[
        Path | None, typer.Argument(help="A run's folder or a weights file. With --folds: a run, for its recipe.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of review.html and review.csv.")] = Path("review"),
    count: Annotated[int, typer.Option(help="Rows to list.", min=1)] = 100,
    folds: Annotated[
        int | None,
        typer.Option(help="Train so many models, so that each judges images that it has not been trained on.", min=2),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe of --folds; that of RUN, or the default one.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes of training of each fold.", min=0.001)] = None,
    save: Annotated[
        str | None,
        typer.Option(help="Save the listed images' boxes too, to correct in a tool: labelme, labelstudio, cvat, …"),
    ] = None,
    split: Annotated[str | None, typer.Option(help="The split to review; all images if not given.")] = None,
    splits: Splits = None,
    data_format: DataFormat = None,
    max_pixels: MaxPixels = None,
    follow_links: FollowLinks = False,
    on_bad: OnBad = "fail",
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="Processes that load images.", min=0)] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the list to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """List the annotations that a detector disagrees with most, ranked, as a page with crops and for label tools."""
    from singleshot.cli import terminal
    from singleshot.data import split_file
    from singleshot.data.orientation import turned_warning
    from singleshot.reporting import review as reviewing

    if folds is None and (recipe is not None or minutes is not None):
        raise UsageError("--recipe and --minutes are for --folds", remedy="Omit them")
    if folds is None and run is None:
        raise UsageError("give either RUN or --folds", remedy="See singleshot data review --help")
    reading.use(max_pixels, follow_links)
    kinds = _kinds(save)
    outputs.check_outside(data, out, json_file)
    files = [out / reviewing.PAGE, out / reviewing.LIST]
    outputs.check(*files, json_file=json_file, json_keys=JSON_KEYS, inputs=[data, run], overwrite=overwrite)
    _check_saved(out, kinds, overwrite)
    found = reviewing.review(
        data,
        run if folds is None else None,
        out=out,
        folds=folds,
        recipe=None if folds is None else _recipe(recipe, run, minutes),
        split=split,
        splits=None if splits is None else split_file.read(splits),
        data_format=data_format,
        count=count,
        on_bad=on_bad,
        device=device,
        workers=workers,
        overwrite=overwrite,
        on_start=terminal.note,
    )
    for warning in found.warnings:
        terminal.warn(warning)
    terminal.warn_left_out(found.faults)
    terminal.warn(turned_warning([found.dataset]))
    _save(found, out, kinds)
    outputs.write_json(json_file, found.as_json())
    for rank, row in enumerate(found.rows[:SHOWN], start=1):
        terminal.show(_line(found.facts(rank, row)))
    if len(found.rows) > SHOWN:
        terminal.show("…")
    counts = ", ".join(f"{number} {kind}" for kind, number in found.counts().items())
    terminal.show(f"{len(found.rows)} disagreements in {len(found.dataset)} images: {counts}")
    terminal.show(f"page: {files[0]}")
    terminal.show(f"list: {files[1]}")


def _kinds(save: str | None) -> tuple[str, ...]:
    from singleshot.prediction.annotations import parse_kinds

    kinds = parse_kinds(save)
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"a review is not saved as {kind!r}", remedy=f"--save takes {', '.join(KINDS)}")
    return kinds


def _check_saved(out: Path, kinds: Sequence[str], overwrite: bool) -> None:
    """Refuse files of `--save` that exist, before anything is read or trained."""
    from singleshot.prediction import annotations

    for kind in kinds:
        path = out / annotations.KINDS[kind][1]
        if not overwrite and (path.is_file() or (path.is_dir() and any(path.iterdir()))):
            remedy = "Choose another --out or pass --overwrite"
            raise CannotCreateError("already exists", remedy=remedy, file=path)


def _recipe(name: str | None, run: Path | None, minutes: float | None) -> Any:
    """Return the recipe of the folds: the named one, that of the run, or the default one; for so many minutes."""
    from singleshot.cli.train import find_recipe, stored_recipe
    from singleshot.training.recipe import limited

    folder = None if run is None or name is not None else run if run.is_dir() else run.parent
    chosen = find_recipe(name) if folder is None else stored_recipe(folder)
    if chosen.is_segmentation:
        raise UsageError("the recipe trains a segmenter", remedy="Name one of a detector")
    return dataclasses.replace(chosen, **limited(chosen, epochs=None, steps=None, minutes=minutes))


def _save(found: Review, out: Path, kinds: Sequence[str]) -> None:
    """Write the boxes of the listed images for label tools."""
    import numpy as np

    from singleshot.cli import terminal
    from singleshot.prediction import annotations
    from singleshot.prediction.frames import Frame, ImageResult

    if not kinds:
        return
    images = found.pre_annotated()
    copies = annotations.targets([image for image, _ in images], out)
    names = {str(image): copies[image].stem for image, _ in images}
    if "yolo" in kinds and "classes" in names.values():
        message = "an image called classes would take the place of classes.txt, the list of classes"
        raise UsageError(message, remedy="Rename it, or save another kind", file=out)
    with annotations.Sinks(annotations.open_sinks(kinds, out, found.dataset.label_map), names) as sinks:
        for image, detections in images:
            blank = np.broadcast_to(np.uint8(0), (*detections.size_hw, 3))  # no format has pixels
            sinks.append(ImageResult(Frame(blank, str(image)), detections))
    for kind in kinds:
        terminal.show(f"{kind}: {out / annotations.KINDS[kind][1]}")


def _line(facts: dict[str, Any]) -> str:
    """Return a row as one line."""
    from singleshot.errors import visible

    words = [facts["annotated"] or "", "" if facts["score"] is None else f"{facts['detected']} {facts['score']:.2f}"]
    what = " → ".join(filter(None, words))
    return visible(f"{facts['rank']:>4}  {facts['surprise']:5.2f}  {facts['kind']:<11}  {what}  {facts['image']}")
