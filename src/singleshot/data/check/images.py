"""One image at a time: whether it decodes to its last byte, and what about it may surprise its owner.

A file that gives the pixels that everybody expects has no fault: grey, CMYK that decodes, a profile, bytes behind the
end. What we read in a way that another program may not (a frame of an animation, 16 bits scaled to 8, transparency over
white, a name that says JPEG on a PNG) gets a note. A rotation in EXIF gets a warning where the sizes cannot show
whether the boxes were drawn before or after it.

Images are decoded in processes that may crash (`reports`): a crash of the decoder costs one image and not the audit.
Each process gets a few images at a time and answers one by one, so that after a crash the first image without an
answer is the one at fault; a new process goes on with the next. A process that does not answer is killed. These
processes import this file, so it needs neither torch nor anything else that is slow to import.
"""

from __future__ import annotations

import hashlib
import logging
import signal
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

from singleshot.data.check.fingerprints import fingerprint
from singleshot.data.faults import make_fault
from singleshot.data.orientation import rotation_fault
from singleshot.decoder_process import READY, DecoderProcess, GivenUpError
from singleshot.errors import DataError, Fault, NotPermittedError, SingleshotError
from singleshot.images import MAX_FILE_BYTES, ImageHeader, decode_image, read_header
from singleshot.images import log as decoder_log
from singleshot.storage.files import file_bytes

IMAGES_AT_A_TIME = 16
EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "WebP": (".webp",),
}


@dataclass(frozen=True)
class ImageReport:
    """The result for one image.

    Args:
        path: its file.
        size_hw: of the upright image; None where it cannot be decoded.
        stored_hw: the same before EXIF's rotation.
        orientation: EXIF's, 1 to 8; 1 where there is none.
        digest: of the file's bytes; empty where it cannot be read.
        class_ids: of a mask, the classes that it has pixels of, `VOID` included; none of an image.
        fingerprint: of the pixels, see `fingerprints`; empty where it cannot be decoded.
        faults: what is wrong with it.
    """

    path: Path
    size_hw: tuple[int, int] | None
    stored_hw: tuple[int, int] | None = None
    orientation: int = 1
    digest: bytes = b""
    faults: tuple[Fault, ...] = ()
    fingerprint: bytes = b""
    class_ids: tuple[int, ...] = ()


def report(path: Path) -> ImageReport:
    """Read and decode one image. Never raises for anything about the file: that is in `faults`."""
    doubts = _Doubts()
    decoder_log.addHandler(doubts)
    digest = b""
    try:
        data = file_bytes(path, MAX_FILE_BYTES, kind="too-large-picture")
        digest = hashlib.blake2b(data, digest_size=16).digest()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, which is not used
            pixels = decode_image(data, file=path)
            header = read_header(data, file=path)
    except SingleshotError as error:
        return ImageReport(path, None, digest=digest, faults=(fault_of(error, path),))
    finally:
        decoder_log.removeHandler(doubts)
    faults = _notes(path, header)
    faults += [make_fault("doubtful-picture", message, path) for message in doubts.messages]
    size_hw = (pixels.shape[0], pixels.shape[1])
    return ImageReport(path, size_hw, header.stored_hw, header.orientation, digest, tuple(faults), fingerprint(pixels))


def fault_of(error: SingleshotError, path: Path) -> Fault:
    """Return the fatal fault of a file that could not be read."""
    if isinstance(error, DataError) and error.file is not None:
        return error.as_fault()
    kind = "not-permitted" if isinstance(error, NotPermittedError) else "unreadable-file"
    return make_fault(kind, error.message, path, error.line, remedy=error.remedy)


def size_fault(report: ImageReport, annotated_hw: tuple[int, int] | None, file: Path, line: int | None) -> Fault | None:
    """Compare an annotated size with the image's own; None where they agree or the image cannot be read.

    Args:
        report: the image.
        annotated_hw: height and width by the annotation; None where it gives none, so that it cannot tell whether
            boxes were drawn before or after EXIF's rotation.
        file: the annotation.
        line: of its size.
    """
    if report.size_hw is None or report.stored_hw is None:
        return None
    name = report.path.name
    fault = rotation_fault(name, report.stored_hw, report.orientation, annotated_hw, file, line)
    if fault is not None or annotated_hw in (None, report.size_hw):
        return fault
    message = f"the annotated size is {_by(annotated_hw)}, but {name} has {_by(report.size_hw)} pixels"
    remedy = "Correct the size if the boxes fit the image; else scale them"
    if annotated_hw == report.size_hw[::-1]:
        remedy = "Width and height are swapped: swap them, or turn the image if its boxes lie sideways"
    return make_fault("wrong-size", message, file, line, remedy=remedy)


def _notes(path: Path, header: ImageHeader) -> list[Fault]:
    notes = []
    suffix = path.suffix.lower()
    if suffix not in EXTENSIONS[header.format]:
        message = f"a {header.format} by content, whatever its name says"
        notes.append(
            make_fault("wrong-extension", message, path, remedy=f"Rename it to *{EXTENSIONS[header.format][0]}")
        )
    for kind, applies, message in (
        ("capital-extension", path.suffix != suffix, "its extension is in capitals, which other programs may not find"),
        ("animated-picture", header.animated, "an animation, of which the first frame is used"),
        ("sixteen-bit-picture", header.sixteen_bits, "16 bits a channel, which are scaled to 8"),
        ("cmyk-picture", header.mode == "CMYK", "ink colours (CMYK), which are converted to RGB"),
        ("transparent-picture", header.transparent, "has transparency, which is laid over white"),
    ):
        if applies:
            notes.append(make_fault(kind, message, path))
    return notes


def _by(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]}×{size_hw[0]}"


class _Doubts(logging.Handler):
    """Collects the decoder's warnings about an image that it decodes all the same."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # With arguments it is about a file; without, about this machine's libraries.
        if isinstance(record.args, tuple) and record.args:
            self.messages.append(f"the decoder doubts it ({record.args[-1]})")


# ---- Many images, in processes


def reports(
    paths: Sequence[Path],
    *,
    processes: int,
    timeout_s: float = 60.0,
    work: Callable[[Path], ImageReport] = report,
) -> Iterator[ImageReport]:
    """Report on every image, as they are done. The processes start with the call, not with the first result.

    Args:
        paths: the images.
        processes: how many processes; 0 does the work in this one, which a crash ends.
        timeout_s: how long one image may take.
        work: what to do with an image; it must be importable by name.

    Raises:
        StoppedError: no process can be started.
    """
    if not processes or not paths:
        return map(work, paths)
    jobs = deque(list(paths[start : start + IMAGES_AT_A_TIME]) for start in range(0, len(paths), IMAGES_AT_A_TIME))
    children = [_Child(work, timeout_s) for _ in range(min(processes, len(jobs)))]
    return _collected(children, jobs, timeout_s)


def _collected(children: list[_Child], jobs: deque[list[Path]], timeout_s: float) -> Iterator[ImageReport]:
    try:
        while jobs or any(child.job for child in children):
            for child in children:
                if not child.job and jobs:
                    child.give(jobs.popleft())
            busy = {child.decoder.pipe: child for child in children if child.job}
            for pipe in connection.wait(list(busy), 1.0):
                child = busy[pipe]  # pyright: ignore[reportArgumentType]
                if child.decoder.ready:
                    yield child.answer()
                else:
                    child.begin()
            for child in children:
                if child.job and child.decoder.overdue():
                    child.begin()  # it has just become ready, or ends the audit
                if child.job and child.decoder.ready and time.monotonic() - child.since > timeout_s:
                    yield child.answer()
    finally:
        for child in children:
            child.decoder.end()


class _Child:
    """A process and the images that it has not answered yet."""

    def __init__(self, work: Callable[[Path], ImageReport], timeout_s: float) -> None:
        self.decoder = DecoderProcess(_serve, work, timeout_s=timeout_s)
        self.job: list[Path] = []
        self.since = time.monotonic()

    def give(self, job: list[Path]) -> None:
        self.job, self.since = job, time.monotonic()
        self.decoder.ask(job)

    def begin(self) -> None:
        """Start the time of the first image once the process is ready."""
        self.decoder.await_start()
        self.since = time.monotonic()

    def answer(self) -> ImageReport:
        """Return the report that came through the pipe. Where none came, the image in work is at fault."""
        path, *rest = self.job
        try:
            report = self.decoder.receive(0.0)
        except GivenUpError as given_up:
            self.give(rest)
            message = f"{given_up.message}. Replace or delete it."
            return ImageReport(path, None, faults=(Fault(path, None, given_up.kind, "fatal", message),))
        self.job, self.since = rest, time.monotonic()
        return report


def _serve(pipe: Any, work: Callable[[Path], ImageReport]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    pipe.send(READY)
    try:
        while True:
            for path in pipe.recv():
                pipe.send(work(path))
    except (EOFError, OSError):  # the parent is gone or has finished
        return
