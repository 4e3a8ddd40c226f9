"""`singleshot predict`: what a model sees in pictures, videos and cameras, drawn onto copies and written to files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from singleshot.cli.predict_masks import check_kinds, predict_masks
from singleshot.errors import DataError, SingleshotError, UsageError

if TYPE_CHECKING:
    from singleshot.cli.predict_plan import Plan
    from singleshot.prediction.annotations import Sink
    from singleshot.prediction.image_reader import ImageReader
    from singleshot.prediction.predictor import Predictor, Segmenter
    from singleshot.prediction.sources import Sources
    from singleshot.prediction.stream import StreamOptions
    from singleshot.structures import LabelMap


def predict(
    weights: Annotated[Path, typer.Argument(help="A weights file.")],
    sources: Annotated[list[str], typer.Argument(help="Pictures, videos, folders, patterns, or a camera's number.")],
    out: Annotated[Path | None, typer.Option(help="Write annotated copies into this folder.")] = None,
    threshold: Annotated[
        str | None, typer.Option(help="Only what scores at least this: 0.5 if left out, or by class: 0.5,car=0.3.")
    ] = None,
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
    from singleshot.cli import terminal
    from singleshot.cli.predict_bulk import predict_bulk
    from singleshot.cli.predict_pictures import look
    from singleshot.cli.predict_plan import plan
    from singleshot.prediction import choosing
    from singleshot.prediction.annotations import KINDS, parse_kinds
    from singleshot.prediction.image_reader import ImageReader
    from singleshot.prediction.load import load
    from singleshot.prediction.predictor import Segmenter
    from singleshot.prediction.sources import resolve
    from singleshot.prediction.stream import StreamOptions
    from singleshot.prediction.tiles import Tiling

    thresholds = choosing.parse_threshold(str(choosing.DEFAULT) if threshold is None else threshold)
    if engine is not None:
        given = {"--save": save, "--json": json_file, "--tiles": tiles, "--tile-size": tile_size, "--track": track}
        given |= {"--backend": backend, "--bf16": bf16, "--trust": trust}
        _refuse(given, "--engine leaves detections.json in --out, and knows no", "Leave it out")
        names = _names(classes)
        predict_bulk(
            weights, sources, engine=engine, out=out, thresholds=thresholds, classes=names, overwrite=overwrite
        )
        return
    found = resolve(sources)
    if found.videos:
        from singleshot.prediction.video_reader import import_av

        import_av()
    # What a segmenter saves is planned by `predict_masks`: before the weights are loaded nobody knows which it is.
    kinds = [kind for kind in _names(save) or () if kind in KINDS]
    planned = plan(found, weights=weights, out=out, kinds=kinds, json_file=json_file, overwrite=overwrite)
    with contextlib.ExitStack() as stack:
        # The child starts while the weights are loaded here.
        reading = stack.enter_context(ImageReader()) if found.images else None
        with terminal.download(f"fetching {weights}") as observer:
            model = load(weights, backend=backend, bf16=bf16, trust=trust, observer=observer)
        if isinstance(model, Segmenter):
            given = {"--threshold": threshold, "--classes": classes, "--tiles": tiles, "--tile-size": tile_size}
            _refuse(given | {"--track": track}, "a segmenter knows no", "Leave it out, or name a detector's weights")
            _masks(model, found, planned, reading, save, overwrite)
            return
        parse_kinds(save)
        chosen = choosing.choice(model.label_map, thresholds, _names(classes))
        side_hw = (tile_size, tile_size) if tile_size else model.input_size_hw
        options = StreamOptions(chosen, Tiling(side_hw) if tiles or tile_size else None, track, out is not None)
        failures: list[SingleshotError] = []
        facts: dict[str, Any] = {"threshold": thresholds[""] if set(thresholds) == {""} else thresholds}
        facts |= {"pictures": [], "videos": []}
        with reported(planned, facts), _files(planned, model.label_map, facts["videos"]) as files:
            if reading is not None:
                look(
                    model,
                    options,
                    found.images,
                    reading,
                    copies=planned.pictures,
                    files=files,
                    names=planned.names(),
                    rows=facts["pictures"],
                    failures=failures,
                )
            stopped = _watch(model, options, found, planned, files, rows=facts["videos"], failures=failures)
    _end(failures, 0 if found.videos or found.cameras else len(found.images), stopped=stopped)


def _watch(
    predictor: Predictor[Any, Any],
    options: StreamOptions,
    found: Sources,
    planned: Plan,
    files: Sequence[Sink],
    *,
    rows: list[dict[str, Any]],
    failures: list[SingleshotError],
) -> bool:
    """Look at all videos and cameras, one after the other; whether Ctrl-C ended the last of them, a camera.

    `rows` for `--json` and `failures` grow meanwhile. Raises KeyboardInterrupt where Ctrl-C left something undone.
    """
    from singleshot.cli import terminal
    from singleshot.cli.predict_videos import watch

    everything = (*found.videos, *found.cameras)
    for source in everything:
        target = planned.videos.get(source)
        name = "frame" if target is None else target.stem
        try:
            keep_rows = planned.json_file is not None
            watched = watch(predictor, options, source, target=target, files=files, name=name, keep_rows=keep_rows)
        except DataError as error:
            failures.append(error)
            terminal.warn(str(error))
            rows.append({"file": str(source), "error": str(error)})
            continue
        if watched.fault is not None:
            failures.append(watched.fault)
            terminal.warn(str(watched.fault))
        rows.append(watched.row)
        terminal.show(f"{source}: {watched.summary()}")
        for line in watched.table:
            terminal.note(line)
        if watched.stopped:
            if source is everything[-1] and isinstance(source, int):
                return True
            raise KeyboardInterrupt
    return False


def _masks(
    segmenter: Segmenter,
    found: Sources,
    planned: Plan,
    reading: ImageReader | None,
    save: str | None,
    overwrite: bool,
) -> None:
    """A segmenter's pictures, or its videos."""
    from singleshot.prediction.stream import StreamOptions

    if found.images and (found.videos or found.cameras):
        raise UsageError("pictures and videos at once", remedy="Give a segmenter one kind at a time")
    failures: list[SingleshotError] = []
    facts: dict[str, Any] = {"classes": list(segmenter.label_map.names), "pictures": [], "videos": []}
    if reading is not None:
        kinds = _names(save) or []
        check_kinds(kinds, found.images, planned, overwrite=overwrite)
        with reported(planned, facts):
            frames, total = reading.frames(found.images), len(found.images)
            predict_masks(segmenter, frames, planned, kinds, total=total, rows=facts["pictures"], failures=failures)
        _end(failures, len(found.images))
        return
    if save:
        raise UsageError("--save of masks is for pictures", remedy="Leave it out: the video shows the classes")
    with reported(planned, facts):
        options = StreamOptions(drawing=planned.out is not None)
        stopped = _watch(segmenter, options, found, planned, (), rows=facts["videos"], failures=failures)
    _end(failures, 0, stopped=stopped)


@contextlib.contextmanager
def reported(planned: Plan, facts: Mapping[str, Any]) -> Iterator[None]:
    """Write the `--json` file in the end, also where the work breaks off: what was seen by then is in it."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(SingleshotError):  # the other failure is told
            planned.write_json({**facts, "stopped": True})
        raise
    planned.write_json(facts)


@contextlib.contextmanager
def _files(planned: Plan, label_map: LabelMap, videos: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Sink]]:
    """The files of `--save`, open while inside.

    They keep a name that says so where the work breaks off, or a video's row tells that not all of it could be read.
    """
    from singleshot.prediction.annotations import open_sinks

    files = open_sinks(planned.kinds, planned.out, label_map) if planned.out is not None else []
    whole = False
    try:
        yield files
        whole = not any("error" in row for row in videos)
    finally:
        for file in files:
            file.close(whole=whole)


def _refuse(given: Mapping[str, object], what: str, remedy: str) -> None:
    """Refuse options that would change nothing. Raises UsageError with the first that was given."""
    for name, value in given.items():
        if value is not None and value is not False:
            raise UsageError(f"{what} {name}", remedy=remedy)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _end(failures: Sequence[SingleshotError], pictures: int, *, stopped: bool = False) -> None:
    """Exit with the worst code of all that failed, if any did, or as Ctrl-C does.

    `pictures` is 0 where videos count too.
    """
    from singleshot.cli import terminal

    if failures:
        of = f" of {pictures} pictures could not be read" if pictures else " could not be read, or not in full"
        terminal.warn(f"{len(failures)}{of}")
    if stopped:
        raise KeyboardInterrupt
    if failures:
        raise typer.Exit(max(error.exit_code for error in failures))
