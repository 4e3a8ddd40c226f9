"""Images read by a child process: one that crashes or hangs the decoder is reported, and the rest go on.

The child reads ahead while the network works here, and sends the pixels through a pipe. When it dies, the first image
without an answer is the one at fault; a new child goes on with the next.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.decoder_process import DecoderProcess, GivenUpError
from singleshot.errors import DataError, InputMissingError, os_errors
from singleshot.images import MAX_FILE_BYTES, decode_image, read_image
from singleshot.prediction.frames import Frame, ImageError
from singleshot.prediction.image_child import serve
from singleshot.storage.files import REPLACE

AHEAD = 2
STANDARD_INPUT = Path("-")
"""Stands for an image on standard input, which this process reads and decodes itself."""


class ImageReader:
    """A child process that reads images. It starts at once, so that it is ready when the network is.

    Args:
        read: reads a file; it must be importable by name.
        timeout_s: how long one image may take.

    A script that uses this needs `if __name__ == "__main__":` around its calls, as all that starts processes does.
    """

    def __init__(self, read: Callable[[Path], ndarray] = read_image, *, timeout_s: float = 60.0) -> None:
        self._decoder = DecoderProcess(serve, read, timeout_s=timeout_s)
        self._asked = deque[Path]()

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def frames(self, files: Sequence[Path]) -> Iterator[Frame | ImageError]:
        """Yield the images in order, each as a frame or as an error.

        Raises StoppedError where no child can be started.
        """
        if self._asked:  # an earlier call was left early, and its answers are pending
            self._decoder.restart()
        coming, asked = deque(files), deque[Path]()
        self._asked = asked
        while coming or asked:
            while coming and len(asked) <= AHEAD:
                asked.append(coming.popleft())
                if asked[-1] != STANDARD_INPUT:
                    self._decoder.ask(asked[-1])
            file = asked.popleft()
            if file == STANDARD_INPUT:
                try:
                    yield Frame(read_standard_input(), str(file))
                except DataError as error:
                    yield ImageError(str(file), error)
                continue
            try:
                answer = self._receive(file)
            except GivenUpError as given_up:
                fault = DataError(given_up.message, kind=given_up.kind, remedy=REPLACE, file=file)
                answer = ImageError(str(file), fault)
                for lost in asked:  # what the dead child had been asked
                    if lost != STANDARD_INPUT:
                        self._decoder.ask(lost)
            yield answer

    def close(self) -> None:
        """End the child."""
        self._decoder.end()

    def _receive(self, file: Path) -> Frame | ImageError:
        kind, content = self._decoder.receive()
        if kind is not None:
            return ImageError(str(file), kind(**content))
        image = np.empty(content, np.uint8)
        self._decoder.receive(into=image.reshape(-1).data)
        return Frame(image, str(file))


def read_standard_input() -> UInt8[ndarray, "H W 3"]:
    """Return the image that is piped into this process, as `read_image` returns that of a file.

    Raises:
        InputMissingError: nothing came, or standard input is a terminal or closed.
        DataError: what came is not an image, or is larger than a file may be.
        StorageError: the pipe failed.
    """
    remedy = "Pipe an image into this command: singleshot predict WEIGHTS - < street.jpg"
    if sys.__stdin__ is None:  # closed: by now its number may belong to a file of ours, which would never end
        raise InputMissingError("standard input is closed", remedy=remedy, file=STANDARD_INPUT)
    with os_errors(STANDARD_INPUT, "read"):
        if os.isatty(0):
            raise InputMissingError("standard input is a terminal", remedy=remedy, file=STANDARD_INPUT)
        with open(0, "rb", closefd=False) as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    if not data:
        raise InputMissingError("nothing came on standard input", remedy=remedy, file=STANDARD_INPUT)
    if len(data) > MAX_FILE_BYTES:
        what, remedy = f"more than {MAX_FILE_BYTES >> 20} MiB", "Name videos and large files by their path"
        raise DataError(what, kind="too-large-picture", remedy=remedy, file=STANDARD_INPUT)
    try:
        return decode_image(data, file=STANDARD_INPUT)
    except DataError as error:
        if error.remedy != REPLACE:
            raise
        # There is no file to replace or delete.
        raise DataError(error.message, kind=error.kind, remedy="Pipe a whole image", file=STANDARD_INPUT) from error
