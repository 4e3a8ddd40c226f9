"""`singleshot predict`: what a model sees in pictures, videos and cameras, drawn onto copies and written to files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from singleshot import durable
from singleshot.cli.predict_masks import predict_masks
from singleshot.errors import DataError, SingleshotError, UsageError

if TYPE_CHECKING:
    from singleshot.cli.predict_plan import Plan
    from singleshot.prediction.annotation_files import AnnotationFile
    from singleshot.prediction.segmenter import Segmenter
    from singleshot.prediction.sources import Sources
    from singleshot.prediction.streaming import Work
    from singleshot.structures import LabelMap


def predict(
    weights: Annotated[Path, typer.Argument(help="A weights file.")],
    sources: Annotated[list[str], typer.Argument(help="Pictures, videos, folders, patterns, or a camera's number.")],
    out: Annotated[Path | None, typer.Option(help="Write annotated copies into this folder.")] = None,
    threshold: Annotated[
        str, typer.Option(help="Only what scores at least this: 0.5, or by class: 0.5,car=0.3.")
    ] = "0.5",
    classes: Annotated[str | None, typer.Option(help="Only these classes: car,person.")] = None,
    save: Annotated[
        str | None,
        typer.Option(help="Files beside the copies: json,csv,voc,yolo,coco; of a segmenter ids,colours,probability."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all detections to this file.")] = None,
    tiles: Annotated[bool, typer.Option("--tiles", help="Look at large pictures in overlapping tiles too.")] = False,
    tile_size: Annotated[
        int | None, typer.Option(help="Side of a tile in pixels; else as large as the network's input.", min=32)
    ] = None,
    track: Annotated[bool, typer.Option("--track", help="Give things in videos a number that they keep.")] = False,
    engine: Annotated[
        str | None, typer.Option(help="For very many pictures: ray (a cluster) or process. Goes on where it stopped.")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="What runs the file: torch, pt2, onnx or openvino.")] = None,
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16 (torch, openvino).")] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Open a .pt2 even if it could run code.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Find objects in pictures and videos, or with a segmenter give every pixel a class.

    A picture that cannot be read is named, the rest go on, and the exit code says so. Of a damaged video every readable
    frame is used. Ctrl-C leaves a video that can be played.
    """
    from singleshot.cli.predict_bulk import predict_bulk
    from singleshot.cli.predict_pictures import look
    from singleshot.cli.predict_plan import plan
    from singleshot.prediction import choosing
    from singleshot.prediction.annotation_files import parse_kinds
    from singleshot.prediction.opening import load
    from singleshot.prediction.picture_process import PictureProcess
    from singleshot.prediction.segmenter import Segmenter
    from singleshot.prediction.sources import resolve
    from singleshot.prediction.streaming import Work
    from singleshot.prediction.tiles import Tiling

    thresholds = choosing.parse_threshold(threshold)
    if engine is not None:
        if save or json_file or tiles or tile_size or track:
            what = "--engine leaves detections.json in --out, and knows no --save, --json, --tiles and --track"
            raise UsageError(what, remedy="Leave them out")
        predict_bulk(
            weights,
            sources,
            engine=engine,
            out=out,
            thresholds=thresholds,
            classes=_names(classes),
            overwrite=overwrite,
        )
        return
    found = resolve(sources)
    if found.videos:
        from singleshot.prediction.video_reader import import_av

        import_av()
    planned = plan(found, weights=weights, out=out, json_file=json_file, overwrite=overwrite)
    with contextlib.ExitStack() as stack:
        # The child starts while the weights are loaded here.
        reading = stack.enter_context(PictureProcess()) if found.pictures else None
        model = load(weights, backend=backend, bf16=bf16, trust=trust)
        if isinstance(model, Segmenter):
            if classes or tiles or track:
                what = "--classes, --tiles and --track are for detectors"
                raise UsageError(what, remedy="Leave them out, or name a detector's weights")
            _masks(model, found, planned, save, overwrite)
            return
        kinds = parse_kinds(save)
        planned = plan(found, weights=weights, out=out, kinds=kinds, json_file=json_file, overwrite=overwrite)
        chosen = choosing.choice(model.label_map, thresholds, _names(classes))
        side_hw = (tile_size, tile_size) if tile_size else model.input_size_hw
        work = Work(model, chosen, Tiling(side_hw) if tiles or tile_size else None, drawing=out is not None)
        facts: dict[str, Any] = {"threshold": thresholds[""] if set(thresholds) == {""} else thresholds}
        failures: list[SingleshotError] = []
        with _files(planned, model.label_map) as files:
            rows: list[dict[str, Any]] = []
            if reading is not None:
                looked = look(
                    work, found.pictures, reading, copies=planned.pictures, files=files, names=planned.names()
                )
                failures += looked.failures
                rows = looked.rows
            facts["pictures"] = rows
            facts["videos"] = _watch(work, found, planned, files, failures, track=track)
    if json_file is not None:
        durable.write_text(json_file, json.dumps(facts, indent=2) + "\n")
    _end(failures, 0 if found.videos or found.cameras else len(found.pictures))


def _watch(
    work: Work,
    found: Sources,
    planned: Plan,
    files: Sequence[AnnotationFile],
    failures: list[SingleshotError],
    *,
    track: bool = False,
) -> list[dict[str, Any]]:
    """Look at all videos and cameras, one after the other; rows for `--json`. What fails is added to `failures`."""
    from dataclasses import replace

    from singleshot.cli import progress
    from singleshot.cli.predict_videos import watch
    from singleshot.prediction.track import Tracker

    rows: list[dict[str, Any]] = []
    for source in (*found.videos, *found.cameras):
        own = replace(work, tracker=Tracker()) if track else work
        target = planned.videos.get(source)
        name = "frame" if target is None else target.stem
        try:
            watched = watch(own, source, target=target, files=files, name=name, keep_rows=planned.json_file is not None)
        except DataError as error:
            failures.append(error)
            progress.warn(str(error))
            rows.append({"file": str(source), "error": str(error)})
            continue
        if watched.fault is not None:
            failures.append(watched.fault)
            progress.warn(str(watched.fault))
        rows.append(watched.row)
        progress.out.print(f"{source}: {watched.summary()}", soft_wrap=True, markup=False)
        for line in watched.table:
            progress.err.print(line, soft_wrap=True, markup=False)
    return rows


def _masks(segmenter: Segmenter, found: Sources, planned: Plan, save: str | None, overwrite: bool) -> None:
    """A segmenter's pictures, or its videos."""
    if found.pictures and (found.videos or found.cameras):
        raise UsageError("pictures and videos at once", remedy="Give a segmenter one kind at a time")
    if found.pictures:
        kinds = save.split(",") if save else []
        json_file = planned.json_file
        predict_masks(segmenter, found.pictures, out=planned.out, save=kinds, json_file=json_file, overwrite=overwrite)
        return
    if save:
        raise UsageError("--save of masks is for pictures", remedy="Leave it out: the video shows the classes")
    from singleshot.prediction.streaming import Work

    failures: list[SingleshotError] = []
    rows = _watch(Work(segmenter, drawing=planned.out is not None), found, planned, (), failures)
    if planned.json_file is not None:
        durable.write_text(planned.json_file, json.dumps({"pictures": [], "videos": rows}, indent=2) + "\n")
    _end(failures, 0)


@contextlib.contextmanager
def _files(planned: Plan, label_map: LabelMap) -> Iterator[Sequence[AnnotationFile]]:
    """The files of `--save`, open while inside; they keep a name that says so where the work breaks off."""
    from singleshot.prediction.annotation_files import open_files

    files = open_files(planned.kinds, planned.out, label_map) if planned.out is not None else []
    whole = False
    try:
        yield files
        whole = True
    finally:
        for file in files:
            file.close(whole=whole)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _end(failures: Sequence[SingleshotError], pictures: int) -> None:
    """Exit with the worst code of all that failed, if any did. `pictures` is 0 where videos count too."""
    from singleshot.cli import progress

    if failures:
        of = f" of {pictures} pictures could not be read" if pictures else " could not be read, or not in full"
        progress.warn(f"{len(failures)}{of}")
        raise typer.Exit(max(error.exit_code for error in failures))
