"""`singleshot predict --engine`: very many pictures, by a cluster or a process that may die; nothing is done twice."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from singleshot.errors import DataError, InputMissingError, UsageError
from singleshot.storage.files import file_bytes

if TYPE_CHECKING:
    from singleshot.prediction.bulk import Engine

ENGINES = ("ray", "process")
MOST_LIST_BYTES = 1 << 30


def predict_bulk(
    weights: Path,
    sources: Sequence[str],
    *,
    engine: str,
    out: Path | None,
    thresholds: Mapping[str, float],
    classes: Sequence[str] | None,
    overwrite: bool,
) -> None:
    """Look at pictures shard by shard, and leave `OUT/detections.json` as `--json` would have it.

    Args:
        weights: a detector's weights.
        sources: pictures, folders and patterns, or one `.txt` file that lists pictures, one a line.
        engine: of `ENGINES`.
        out: the work's folder. The same command goes on with what is not done yet.
        thresholds: least score by class name; the empty name stands for the rest.
        classes: the classes that are shown, or None for all.
        overwrite: begin anew in a folder that holds other or finished work.

    Raises:
        UsageError: an unknown engine, no folder, or something that is no picture.
        CannotCreateError: the folder holds other work, or this work and it is finished.
        typer.Exit: with the worst code of the pictures that could not be read, after all others were done.
    """
    from singleshot.cli import outputs, terminal
    from singleshot.prediction import bulk, hand
    from singleshot.prediction.sources import resolve

    run = find_engine(engine)
    if out is None:
        raise UsageError("--engine needs a folder for its work", remedy="Give --out DIR")
    names = listed(Path(sources[0])) if len(sources) == 1 and sources[0].endswith(".txt") else sources
    found = resolve(names)
    if found.videos or found.cameras:
        raise UsageError("--engine is for pictures", remedy="Leave videos and cameras out")
    outputs.check_folder(out)
    with terminal.download(f"fetching {weights}") as observer:
        job = bulk.make_job(weights, found.images, thresholds=thresholds, classes=classes, observer=observer)
    todo = bulk.open_job(out, job, overwrite=overwrite)
    if len(todo) < job.shards:
        terminal.show(f"{job.shards - len(todo)} of {job.shards} shards are done already")
    with hand.held(out):
        # Closed where this ends early: workers go with it.
        with terminal.bar("shards", len(todo)) as advance, contextlib.closing(run(out, todo)) as shards:
            for done, _ in enumerate(shards, start=1):
                advance(done)
        table = dict(thresholds)
        facts = {"threshold": table[""] if set(table) == {""} else table}
        failed = bulk.finish(out, job, facts)
    for row in failed:
        terminal.warn(row["error"])
    terminal.show(f"{len(found.images)} pictures: {out / 'detections.json'}")
    if failed:
        terminal.warn(f"{len(failed)} of {len(found.images)} pictures could not be read")
        raise typer.Exit(max(row["exit_code"] for row in failed))


def find_engine(name: str) -> Engine:
    """The engine of that name. Raises UsageError for no such, ConfigError where it is not installed."""
    from singleshot.prediction import process_engine, ray_engine

    if name not in ENGINES:
        raise UsageError(f"no engine is called {name!r}", remedy=f"Known are {', '.join(ENGINES)}")
    if name == "ray":
        ray_engine.import_ray()  # before anything is written
        return ray_engine.run
    return process_engine.run


def listed(file: Path) -> list[str]:
    """The pictures that a list names, one a line; empty lines do not count.

    Raises InputMissingError for none, DataError for a list that is not UTF-8, and what `file_bytes` raises.
    """
    try:
        lines = file_bytes(file, MOST_LIST_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        what, remedy = "not UTF-8 text", "Save the list as UTF-8, a picture a line"
        raise DataError(what, kind="bad-list", remedy=remedy, file=file) from error
    names = [line.strip() for line in lines if line.strip()]
    for number, name in enumerate(lines, start=1):
        if name.strip() and not Path(name.strip()).exists():
            raise InputMissingError(f"no such picture: {name.strip()}", remedy="Mend the list", file=file, line=number)
    if not names:
        raise InputMissingError("the list is empty", remedy="Name pictures in it, one a line", file=file)
    return names
