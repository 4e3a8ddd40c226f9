"""The sample data: street scenes that are drawn on the user's machine, as a Pascal VOC folder. No download.

`make` writes images, annotations, masks and lists; `scene.scene` draws one of them. Everything about an image comes
from (seed, split, index, size), so equal parameters give equal bytes, however many processes draw. A folder appears
whole or not at all, with its parameters in `streets.json`, by which `matches` recognises it.

A test checks, on the default test split: boxes between 16 and 200 pixels (longer side), a
tenth of them or more under 24; at most 40 % of an object hidden; some streets without any object.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from singleshot.data.boxes.voc_xml import annotation_xml
from singleshot.errors import CannotCreateError, StoppedError, UsageError, os_errors
from singleshot.streets.objects import CLASS_NAMES, MASK_NAMES
from singleshot.streets.scene import SPLITS, Scene, scene

__all__ = [
    "CLASS_NAMES",
    "MASK_NAMES",
    "SIZE_HW",
    "SPLITS",
    "TEST",
    "TRAIN",
    "VAL",
    "Scene",
    "make",
    "matches",
    "scene",
]

TRAIN, VAL, TEST = 800, 50, 200
SIZE_HW = (300, 400)
LISTS = {"train": ("train",), "val": ("val",), "trainval": ("train", "val"), "test": ("test",)}
"""The splits of each list of image names."""
MANIFEST = "streets.json"
VERSION = 1  # of the drawings: to be raised when the same parameters give other pixels
_JPEG_QUALITIES = (85, 95)
_PART = 8  # images that a process draws before it reports: small enough for a smooth progress bar

Progress = Callable[[int, int], None]


def make(
    out: Path | str,
    *,
    seed: int = 0,
    train: int = TRAIN,
    val: int = VAL,
    test: int = TEST,
    size_hw: tuple[int, int] = SIZE_HW,
    workers: int | None = None,
    overwrite: bool = False,
    on_progress: Progress | None = None,
) -> Path:
    """Draw a data set: `JPEGImages`, `Annotations`, `SegmentationClass`, `ImageSets/{Main,Segmentation}`.

    Boxes are around the visible part of an object, in whole pixels. Masks contain the numbers of `MASK_NAMES`, one
    channel; 255 (void) does not occur. Lists are `train`, `val`, `trainval` and `test`.

    Args:
        out: the folder to make. It may exist if it is empty.
        seed: 0 or more.
        train: images in that split, 0 or more.
        val: as `train`.
        test: as `train`.
        size_hw: height and width of every image, 64 to 2048.
        workers: processes that draw; None for one a core. They are started afresh, so a script that calls this needs
            the usual `if __name__ == "__main__":`, or `workers=1`, which draws in this process.
        overwrite: replace `out` if an earlier call made it. Any other folder is left alone even so.
        on_progress: is called with (finished images, all images), from this process.

    Returns:
        `out`.

    Raises:
        UsageError: a number is out of range.
        CannotCreateError: `out` is a file, or a folder that is not empty and may not be replaced.
        NotPermittedError, StorageError: the file system refuses, or fails; nothing is left behind.
        StoppedError: a process was killed while it drew.
    """
    out = Path(out)
    parameters = _parameters(seed, train, val, test, size_hw)
    _refuse_to_replace(out, overwrite)
    tasks = [(split, index) for split, count in parameters["counts"].items() for index in range(count)]
    target = out.resolve()
    folder = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with os_errors(out, "write", elsewhere="Choose another folder"):
            for part in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation"):
                (folder / part).mkdir(parents=True)
            done = 0
            for drawn in _drawn(folder, seed, size_hw, tasks, workers or os.cpu_count() or 1):
                done += drawn
                if on_progress is not None:
                    on_progress(done, len(tasks))
            for name, splits in LISTS.items():
                text = "".join(f"{_name(split, index)}\n" for split, index in tasks if split in splits)
                for task in ("Main", "Segmentation"):
                    (folder / "ImageSets" / task / f"{name}.txt").write_text(text, encoding="utf-8")
            (folder / MANIFEST).write_text(json.dumps(parameters, indent=2) + "\n", encoding="utf-8")
            _put_in_place(folder, target)
    except BrokenProcessPool as error:
        message = "a process that drew the sample data was killed, or the calling script starts itself anew"
        remedy = 'Try again with one worker; a script needs `if __name__ == "__main__":` around its calls'
        raise StoppedError(message, remedy=remedy, file=out) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return out


def matches(
    out: Path | str,
    *,
    seed: int = 0,
    train: int = TRAIN,
    val: int = VAL,
    test: int = TEST,
    size_hw: tuple[int, int] = SIZE_HW,
) -> bool:
    """Return whether `out` is what `make` with the same arguments would draw, and complete."""
    parameters = _parameters(seed, train, val, test, size_hw)
    if _manifest(Path(out)) != parameters:
        return False
    names = {f"{_name(split, i)}" for split, count in parameters["counts"].items() for i in range(count)}
    parts = (("JPEGImages", ".jpg"), ("Annotations", ".xml"), ("SegmentationClass", ".png"))
    return all({path.stem for path in (Path(out) / part).glob(f"*{suffix}")} == names for part, suffix in parts)


def _parameters(seed: int, train: int, val: int, test: int, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Return the content of `streets.json`."""
    if seed < 0:
        raise UsageError(f"the seed is {seed}", remedy="Give 0 or more")
    if min(train, val, test) < 0 or train + val + test == 0:
        raise UsageError(f"{train} + {val} + {test} images", remedy="Give 0 or more for every split, 1 or more in all")
    if not (min(size_hw) >= 64 and max(size_hw) <= 2048):
        raise UsageError(f"images of {size_hw[0]}×{size_hw[1]}", remedy="Give a height and a width of 64 to 2048")
    return {
        "version": VERSION,
        "seed": seed,
        "size_hw": list(size_hw),
        "counts": dict(zip(SPLITS, (train, val, test), strict=True)),
        "classes": list(CLASS_NAMES),
        "mask": list(MASK_NAMES),
    }


def _manifest(out: Path) -> Any:
    """Return the content of `streets.json`, None where it cannot be read."""
    try:
        return json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _refuse_to_replace(out: Path, overwrite: bool) -> None:
    if not out.is_dir():
        if out.exists() or out.is_symlink():
            raise CannotCreateError("exists and is not a folder", remedy="Choose another folder", file=out)
        return
    with os_errors(out, "read"):
        empty = not any(out.iterdir())
    manifest = _manifest(out)
    ours = isinstance(manifest, dict) and manifest.get("classes") == list(CLASS_NAMES)
    if not empty and not ours:
        message = "the folder is not empty, and its content was not drawn by singleshot"
        raise CannotCreateError(message, remedy="Choose another folder; --overwrite does not replace it", file=out)
    if not empty and not overwrite:
        raise CannotCreateError("the folder is not empty", remedy="Pass --overwrite to replace it", file=out)


def _put_in_place(folder: Path, target: Path) -> None:
    """Rename the finished folder; an existing one is empty or may be replaced."""
    old = folder.with_suffix(".old")
    if target.exists():
        target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _drawn(
    folder: Path, seed: int, size_hw: tuple[int, int], tasks: list[tuple[str, int]], workers: int
) -> Iterator[int]:
    """Draw all; yield the number of images in each finished part."""
    parts = [tasks[start : start + _PART] for start in range(0, len(tasks), _PART)]
    workers = min(workers, len(parts))
    if workers <= 1:
        for part in parts:
            yield _draw_part(folder, seed, size_hw, part)
        return
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)
    try:
        waiting = [pool.submit(_draw_part, folder, seed, size_hw, part) for part in parts]
        for future in waiting:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)


def _draw_part(folder: Path, seed: int, size_hw: tuple[int, int], part: list[tuple[str, int]]) -> int:
    for split, index in part:
        _write_scene(folder, seed, size_hw, split, index)
    return len(part)


def _write_scene(folder: Path, seed: int, size_hw: tuple[int, int], split: str, index: int) -> None:
    """Write one image with its annotation and its mask."""
    drawn, name = scene(seed, split, index, size_hw=size_hw), _name(split, index)
    low, high = _JPEG_QUALITIES
    quality = int(np.random.default_rng((seed, SPLITS.index(split), index, 1)).integers(low, high + 1))
    bgr = cv2.cvtColor(drawn.image, cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
    png = cv2.imencode(".png", drawn.mask, (cv2.IMWRITE_PNG_COMPRESSION, 1))[1]
    names = [CLASS_NAMES[i] for i in drawn.class_ids]
    xml = annotation_xml(f"{name}.jpg", size_hw, drawn.boxes_xyxy, names, truncated=drawn.truncated)
    (folder / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg.tobytes())
    (folder / "SegmentationClass" / f"{name}.png").write_bytes(png.tobytes())
    (folder / "Annotations" / f"{name}.xml").write_text(xml, encoding="utf-8")


def _name(split: str, index: int) -> str:
    return f"{split}_{index:05d}"
