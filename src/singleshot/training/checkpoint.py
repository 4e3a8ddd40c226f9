"""Checkpoints on disk: one folder each, complete or absent, and any damaged byte is detected.

    checkpoints/step-000001500/state.safetensors      every tensor of the run
    checkpoints/step-000001500/manifest.json          everything else, and the SHA-256 of both

A folder is filled under a temporary name, flushed to the disk, and renamed, so that after a kill there are the old
checkpoints, or those and the new one. Nothing is used before its hashes are checked: safetensors itself does not
detect a flipped bit. Checkpoints are ordered by their steps, because clocks can go back; a second one of the same step
is `step-000001500.1`.

`Saver` writes them in a thread: hashing, writing and flushing take longer than a step. The loop waits for a copy of
the tensors only, because the next step changes the weights in place. A failure in the thread is raised by the next
call.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import safetensors
import safetensors.torch
from torch import Tensor

from singleshot.config import Above, AtLeast, Config
from singleshot.errors import DataError, InputMissingError, StorageError, from_os_error, os_errors
from singleshot.storage import atomic, sealed

SCHEMA = 1
TENSORS, MANIFEST = "state.safetensors", "manifest.json"
_NAME = re.compile(r"step-([0-9]{9,})(?:\.([0-9]+))?")


@dataclass(frozen=True)
class CheckpointConfig(Config, name="checkpoint"):
    """How often a run is saved, and which checkpoints are kept."""

    minutes: Annotated[float, Above(0)] | None = 5.0
    """A checkpoint whenever so many minutes have passed since the last one; null: none by the clock."""
    steps: Annotated[int, AtLeast(1)] | None = None
    """A checkpoint whenever so many steps have been taken; null: none by count."""
    keep: Annotated[int, AtLeast(2)] = 2
    """How many of the newest are kept. The second is the fallback for a damaged newest one."""
    keep_every: Annotated[int, AtLeast(1)] | None = None
    """The first checkpoint at or after each multiple of so many steps is never removed."""


@dataclass(frozen=True)
class Checkpoint:
    """A run at the end of one of its steps.

    Args:
        path: its folder.
        step: steps of the run so far.
        tensors: by name.
        facts: the rest, as JSON stores it.
    """

    path: Path
    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def write(root: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Path:
    """Write a checkpoint and return its folder. One of the same step is removed once the new one is on disk.

    Args:
        root: the folder of all checkpoints of a run; it exists.
        step: steps of the run so far.
        tensors: on the CPU; no two share memory.
        facts: values that JSON can represent.

    Raises:
        StorageError: the disk is full or failing, or the folder was removed; older checkpoints are unchanged.
        NotPermittedError: no permission to write.
    """
    data = safetensors.torch.save(dict(tensors))
    files = {TENSORS: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
    manifest = sealed.seal_json({"schema": SCHEMA, "step": step, "facts": dict(facts), "files": files}).encode()
    needed, name = len(data) + len(manifest), f"step-{step:09d}"
    temporary = root / f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        same = [path for (each, _), path in _steps(root) if each == step]
        final = root / (f"{name}.{_order(same[-1])[1] + 1}" if same else name)
        if shutil.disk_usage(root).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        temporary.mkdir()
        for file, content in ((TENSORS, data), (MANIFEST, manifest)):
            with (temporary / file).open("xb", buffering=0) as stream:
                view = memoryview(content)
                while view:  # an unbuffered write may write less than it was given
                    view = view[stream.write(view) :]
                os.fsync(stream.fileno())
        atomic.sync(temporary)
        temporary.rename(final)
        atomic.sync(root)
        for path in same:  # not before the new one is safe under its name
            _remove(path)
    except OSError as error:
        failure = from_os_error(error, root, "write", elsewhere="Correct it, then --resume")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(root).free
            message = f"a checkpoint needs {needed:,} bytes and {free:,} are free; the previous one is unchanged"
            failure = StorageError(message, remedy="Free space, then --resume", file=root)
        raise failure from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def read(path: Path) -> Checkpoint:
    """Read a checkpoint's folder and check every byte of it.

    Raises:
        DataError: something is missing, cut off, changed, or written by a newer version.
        StorageError, NotPermittedError: it cannot be read.
    """
    manifest = _manifest(path)
    if manifest["schema"] > SCHEMA:
        message = f"written in schema {manifest['schema']}; this version reads up to {SCHEMA}"
        raise DataError(message, kind="newer-checkpoint", remedy="Update singleshot", file=path / MANIFEST)
    if _order(path)[0] != manifest["step"]:
        raise damaged(f"it is of step {manifest['step']}", path)
    data, stated = _bytes(path / TENSORS), manifest["files"][TENSORS]
    if len(data) < stated["bytes"]:
        raise damaged(f"truncated: {len(data)} of {stated['bytes']} bytes", path / TENSORS)
    if hashlib.sha256(data).hexdigest() != stated["sha256"]:
        raise damaged("SHA-256 mismatch", path / TENSORS)
    try:
        tensors = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise damaged(f"not readable ({error})", path / TENSORS) from error
    return Checkpoint(path, manifest["step"], tensors, manifest["facts"])


def newest(root: Path, on_damaged: Callable[[DataError], None]) -> Checkpoint | None:
    """Return the newest intact checkpoint, or None if there are no checkpoints.

    Args:
        root: the folder of all checkpoints of a run.
        on_damaged: is called with the error of each newer one that is damaged.

    Raises:
        DataError: there are checkpoints, and every one is damaged; or the newest is of a newer version than this.
        StorageError, NotPermittedError: one cannot be read now. It may be intact, so no older one is used instead.
    """
    found = _steps(root)
    for _, path in reversed(found):
        try:
            return read(path)
        except DataError as error:  # not StorageError: a disk that fails for a moment damages nothing
            if error.kind == "newer-checkpoint":
                raise  # it is intact: to skip it would lose its steps
            on_damaged(error)
    if found:
        message = f"none of the {len(found)} checkpoints is intact"
        raise DataError(message, kind="damaged-checkpoint", remedy="Start a new run in another --out", file=root)
    return None


def newest_facts(root: Path) -> dict[str, Any] | None:
    """Return the facts of the newest checkpoint with a readable manifest, without reading tensors; None without any."""
    for _, path in reversed(_steps(root)):
        with contextlib.suppress(DataError):
            manifest = _manifest(path)
            return manifest["facts"] if manifest["schema"] <= SCHEMA else None
    return None


def clean(root: Path) -> None:
    """Remove what killed saves left. Only the process that has the run's lock may do this."""
    for left_over in root.glob(".step-*.tmp"):
        shutil.rmtree(left_over, ignore_errors=True)


def remove_all(root: Path) -> None:
    """Remove every checkpoint and what killed saves left, and nothing else in the folder.

    Raises StorageError or NotPermittedError if one cannot be removed: a later `--resume` would continue from it.
    """
    clean(root)
    for _, path in _steps(root):
        _remove(path)


def prune(root: Path, config: CheckpointConfig, last: int | None = None) -> None:
    """Remove old checkpoints: all but the newest, and but those that are never removed.

    Args:
        root: the folder of all checkpoints of a run.
        config: which are kept.
        last: the step of the checkpoint just written. Those of later steps were damaged, and the run was resumed from
            an older one; counted among the newest they would displace the good ones.

    Raises:
        StorageError: the disk is failing.
        NotPermittedError: no permission to write.
    """
    found = _steps(root)
    late = [path for (step, _), path in found if last is not None and step > last]
    good = [(step, path) for (step, _), path in found if path not in late]
    firsts: dict[int, int] = {}  # the first step at or after each multiple of `keep_every`
    if config.keep_every:
        for step, _ in good:
            firsts.setdefault(step // config.keep_every, step)
        firsts.pop(0, None)
    old = [path for step, path in good[: -config.keep] if step not in firsts.values()]
    for path in (*late, *old):
        _remove(path)


def _remove(path: Path) -> None:
    renamed = path.with_name(f".{path.name}.{os.getpid()}.old.tmp")
    with os_errors(path, "write", elsewhere="Correct it, then --resume"):
        path.rename(renamed)  # a kill half way through must not leave half a checkpoint under its name
    shutil.rmtree(renamed, ignore_errors=True)


def _steps(root: Path) -> list[tuple[tuple[int, int], Path]]:
    """Return the checkpoints with their order, oldest first."""
    with os_errors(root, "read"):
        folders = [path for path in root.iterdir() if _NAME.fullmatch(path.name)] if root.is_dir() else []
    return sorted((_order(path), path) for path in folders)


def _order(path: Path) -> tuple[int, int]:
    """Return the step, and the number among checkpoints of that step; (−1, 0) for another name."""
    name = _NAME.fullmatch(path.name)
    return (int(name[1]), int(name[2] or 0)) if name else (-1, 0)


def damaged(message: str, path: Path) -> DataError:
    """Return the error for a checkpoint's file that differs from what was written."""
    remedy = "An older checkpoint may be intact: --resume"
    return DataError(message, kind="damaged-checkpoint", remedy=remedy, file=path)


def _manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a checkpoint and check it by its own hash."""
    try:
        return sealed.unseal_json(_bytes(path / MANIFEST))
    except ValueError as error:
        raise damaged(str(error), path / MANIFEST) from error


def _bytes(path: Path) -> bytes:
    try:
        with os_errors(path, "read"):
            return path.read_bytes()
    except InputMissingError as error:
        raise damaged("missing", path) from error


REPORT_ALIVE_EVERY_S = 5.0


class Saver:
    """Writes the checkpoints of one run, one at a time.

    Args:
        root: the folder of all checkpoints; it exists.
        config: how often, and which are kept.
        step: the step at which the run starts or is resumed.
        report_alive: is called every few seconds while the loop waits for the disk.
    """

    def __init__(
        self, root: Path, config: CheckpointConfig, step: int = 0, report_alive: Callable[[], None] = lambda: None
    ) -> None:
        self._root, self._config, self._report_alive = root, config, report_alive
        self._saved_step, self._saved_at = step, time.monotonic()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def idle(self) -> bool:
        """Whether no checkpoint is being written: a save would not wait."""
        return self._thread is None or not self._thread.is_alive()

    def due(self, step: int) -> bool:
        """Return whether a checkpoint should be written now; never while one is being written.

        Raises the error of the last save.
        """
        if not self.idle:
            return False
        self.wait()
        minutes, steps = self._config.minutes, self._config.steps
        by_clock = minutes is not None and time.monotonic() - self._saved_at >= minutes * 60
        return by_clock or (steps is not None and step - self._saved_step >= steps)

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Copy the tensors and start to write them, after a save that is not finished yet."""
        self.wait()
        copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        self._saved_step, self._saved_at = step, time.monotonic()
        self._thread = threading.Thread(target=self._write, args=(step, copies, dict(facts)), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait until the last save is on disk. Raises its error, once."""
        if self._thread is not None:
            while self._thread.is_alive():
                self._thread.join(REPORT_ALIVE_EVERY_S)
                self._report_alive()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _write(self, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        try:
            write(self._root, step, tensors, facts)
            prune(self._root, self._config, step)
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join()  # its error is less important than the one being raised
