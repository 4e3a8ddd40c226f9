"""`singleshot predict --engine`: very many images, in processes or a cluster, resumable: no shard is done twice."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from singleshot.errors import DataError, InputMissingError, UsageError
from singleshot.storage.files import file_bytes

if TYPE_CHECKING:
    from singleshot.prediction.bulk.shards import Engine

ENGINES = ("ray", "process")
MAX_LIST_BYTES = 1 << 30


def predict_bulk(
    weights: Path,
    sources: Sequence[str],
    *,
    engine: str,
    out: Path | None,
    thresholds: Mapping[str, float] | None,
    classes: Sequence[str] | None,
    recursive: bool,
    overwrite: bool,
) -> None:
    """Predict images shard by shard, and write `OUT/detections.json` like the report of `--json`.

    Args:
        weights: a detector's weights.
        sources: images, folders and glob patterns, or one `.txt` file that lists images, one per line.
        engine: of `ENGINES`.
        out: the folder of the job. Running the same command again resumes it.
        thresholds: lowest score by class name; the empty name stands for all others. None for the model's own.
        classes: the classes to show, or None for all.
        recursive: use images in subfolders too.
        overwrite: start again in a folder with another job or a finished one.

    Raises:
        UsageError: an unknown engine, no folder, or a source that is not an image.
        CannotCreateError: the folder contains another job, or this one, finished.
        typer.Exit: with the highest exit code of the images that could not be read, after all others are done.
    """
    from singleshot.cli import outputs, terminal
    from singleshot.prediction.bulk import in_progress, shards
    from singleshot.prediction.image_reader import STANDARD_INPUT
    from singleshot.prediction.sources import resolve

    run = find_engine(engine)
    if out is None:
        raise UsageError("--engine needs a folder", remedy="Give --out DIR")
    names = read_list(Path(sources[0])) if len(sources) == 1 and sources[0].endswith(".txt") else sources
    found = resolve(names, recursive=recursive)
    terminal.warn(found.warning())
    if found.moving or STANDARD_INPUT in found.images:
        raise UsageError("--engine is for image files", remedy="Omit videos, cameras and -")
    outputs.check_folder(out)
    with terminal.download(f"fetching {weights}") as observer:
        job = shards.make_job(weights, found.images, thresholds=thresholds, classes=classes, observer=observer)
    todo = shards.open_job(out, job, overwrite=overwrite)
    if len(todo) < job.shards:
        terminal.show(f"{job.shards - len(todo)} of {job.shards} shards were already done")
    with in_progress.held(out):
        # Closed if this ends early, which ends the workers.
        with terminal.bar("shards", len(todo)) as advance, contextlib.closing(run(out, todo)) as finished:
            for done, _ in enumerate(finished, start=1):
                advance(done)
        table = dict(job.thresholds)
        facts = {"threshold": table[""] if set(table) == {""} else table}
        failed = shards.finish(out, job, facts)
    for row in failed:
        terminal.warn(row["error"])
    terminal.show(f"{len(found.images)} images: {out / 'detections.json'}")
    if failed:
        terminal.warn(f"{len(failed)} of {len(found.images)} images could not be read")
        raise typer.Exit(max(row["exit_code"] for row in failed))


def find_engine(name: str) -> Engine:
    """Return an engine. Raises UsageError for an unknown name, ConfigError if it is not installed."""
    from singleshot.prediction.bulk import processes, ray

    if name not in ENGINES:
        raise UsageError(f"no engine {name!r}", remedy=f"There are {', '.join(ENGINES)}")
    if name == "ray":
        ray.import_ray()  # before anything is written
        return ray.run
    return processes.run


def read_list(file: Path) -> list[str]:
    """Read a list of images, one per line; empty lines are ignored.

    Raises:
        InputMissingError: an image does not exist, or the list is empty.
        DataError: the list is not UTF-8.
        SingleshotError: what `file_bytes` raises.
    """
    try:
        lines = file_bytes(file, MAX_LIST_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        message, remedy = "not UTF-8 text", "Save the list as UTF-8, one image per line"
        raise DataError(message, kind="bad-list", remedy=remedy, file=file) from error
    names = [line.strip() for line in lines if line.strip()]
    for number, name in enumerate(lines, start=1):
        if name.strip() and not Path(name.strip()).exists():
            raise InputMissingError(f"no such image: {name.strip()}", remedy="Correct the list", file=file, line=number)
    if not names:
        raise InputMissingError("the list is empty", remedy="Name images in it, one per line", file=file)
    return names
