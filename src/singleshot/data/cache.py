"""A cache of data sets that were read before, outside the data folder, so that they open at once.

Reading 17,000 XML files takes seconds, and checking whether one has changed takes a tenth of one. So an index is stored
under the user's cache folder and used as long as *every* file and folder that the answer came from has the size, the
times of change, and the inode that it had: an edit that keeps the size, and even one that sets the old time back, is
noticed (the time of status change cannot be set). Files that changed in the last moments are not trusted, for a clock's
tick may hide a second change; git does the same.

The cache is never the reason for a failure: a damaged index is made anew, and a folder that cannot be written to costs
one warning. Indices may be deleted at any time.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from singleshot.data import folders
from singleshot.data.load.samples import SampleTable
from singleshot.errors import ConfigError, Fault, InputMissingError, SingleshotError
from singleshot.storage import sealed
from singleshot.storage.cache import cache_folder
from singleshot.structures import Dataset, LabelMap, Sample

READERS = 3
"""Goes up with every change of a reader's results: what an older one stored is then read anew."""
SETTLED_NS = 2_000_000_000
"""A file counts as settled when its last change is older than this: FAT's clock ticks every two seconds."""

log = logging.getLogger(__name__)


def cached(identity: Mapping[str, Any], sources: Iterable[Path], build: Callable[[], Dataset]) -> Dataset:
    """Return what `build` returns, from the cache if nothing has changed.

    Args:
        identity: what is to be read: layout, root, split and options, as JSON holds them. The version of the readers is
            added to it.
        sources: the files and folders that the answer depends on; folders with everything in them.
        build: reads the data set.

    Samples come as a `SampleTable` either way.

    Raises whatever `build` raises, and nothing of its own.
    """
    facts, newest_ns = _facts(sources)  # before reading: an edit during it must not pass for what was read
    base = folder()
    question = json.dumps([version("singleshot"), READERS, identity], sort_keys=True, ensure_ascii=True)
    file = None if base is None else base / f"{hashlib.sha256(question.encode()).hexdigest()[:32]}.index"
    known = None if file is None else _load(file, facts, Path(identity["root"]))
    if known is not None:
        return known
    dataset = build()
    table = SampleTable.from_samples(dataset.samples)
    dataset = Dataset(
        dataset.root, dataset.layout, dataset.split, dataset.label_map, table, dataset.faults,
        category_ids=dataset.category_ids,
        outlines=dataset.outlines,
        labels=label_places(dataset.samples),
    )  # fmt: skip
    if file is not None and newest_ns < time.time_ns() - SETTLED_NS:
        try:
            _store(file, dataset, table, facts)
        except SingleshotError as error:
            _warn_once(f"data sets are read anew each time: {error}")
    return dataset


def label_places(samples: Sequence[Sample]) -> tuple[Path, ...]:
    """Return the file that all annotations of a split are in, or the folders of their files, sorted."""
    files = {sample.annotation_path for sample in samples if sample.annotation_path is not None}
    return tuple(sorted(files if len(files) == 1 else {file.parent for file in files}))


def folder() -> Path | None:
    """Return the folder of the indices; None for a user without a home."""
    try:
        return cache_folder("index")
    except ConfigError:
        return None


def _facts(sources: Iterable[Path]) -> tuple[str, int]:
    """Return a digest of the states of all files below the sources, and the time of the latest change."""
    digest = hashlib.sha256()
    newest = 0
    for source in sources:
        for name, state in _walk(source):
            digest.update(
                f"{name}\0{state.st_size},{state.st_mtime_ns},{state.st_ctime_ns},{state.st_ino},{state.st_mode}\n".encode(
                    "utf-8", "surrogateescape"
                )
            )
            newest = max(newest, state.st_mtime_ns, state.st_ctime_ns)
    return digest.hexdigest(), newest


def _walk(source: Path, way: frozenset[str] = frozenset()) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every file below a source with its state, sorted by name; nothing for what cannot be read.

    Links to folders are entered as the readers do, see `folders.enters`; `way` are the real paths of those above.

    A folder that may not be listed gives no facts, and its reader then says so: such answers are not kept.
    """
    try:
        yield str(source), source.stat()
        entries = sorted(os.scandir(source), key=lambda entry: entry.name) if source.is_dir() else []
    except OSError:
        return
    way |= {os.path.realpath(source)}
    for entry in entries:
        try:
            # A Path only for folders and links: one for each file would take half of the time.
            if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and folders.enters(Path(entry.path), way)):
                yield from _walk(Path(entry.path), way)
            else:
                yield entry.path, entry.stat()
        except OSError:  # a link that ends nowhere is a fact too
            yield entry.path, entry.stat(follow_symlinks=False)


def _store(file: Path, dataset: Dataset, table: SampleTable, facts: str) -> None:
    record = {
        "facts": facts,
        "layout": dataset.layout,
        "split": dataset.split,
        "names": dataset.label_map.names,
        "category_ids": dataset.category_ids,
        "outlines": dataset.outlines,
        "labels": [str(path) for path in dataset.labels],
        "faults": [fault.as_json() for fault in dataset.faults],
    }
    sealed.write(file, {name: torch.tensor(array) for name, array in table.arrays().items()}, json.dumps(record))


def _load(file: Path, facts: str, root: Path) -> Dataset | None:
    """Return the data set in an index; None where there is none, or it is out of date or damaged."""
    try:
        tensors, text, _ = sealed.read(file)
        record = json.loads(text)
        if record["facts"] != facts:
            return None
        return Dataset(
            root,
            record["layout"],
            record["split"],
            LabelMap(tuple(record["names"])),
            # Copies: the file is mapped into memory, and another process may replace it.
            SampleTable.from_arrays({name: tensor.numpy().copy() for name, tensor in tensors.items()}),
            tuple(Fault(**{**fault, "file": Path(fault["file"])}) for fault in record["faults"]),
            category_ids=tuple(record["category_ids"]),
            outlines=record.get("outlines", 0),
            labels=tuple(map(Path, record["labels"])),
        )
    except InputMissingError:
        return None
    except SingleshotError as error:
        log.info("the data is read anew: %s", error)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        log.info("%s: of another version (%s); the data is read anew", file, error)
    return None


@functools.cache
def _warn_once(line: str) -> None:
    log.warning("%s", line)
