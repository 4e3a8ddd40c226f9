"""Pictures read by a process that may die: one that crashes or hangs its decoder is named, and the rest go on.

The child reads ahead while the network works here, and hands the pixels over through a pipe. When it dies, the first
picture without an answer is the one at fault; a new child goes on with the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray

from singleshot.decoder_process import DecoderProcess, GivenUpError
from singleshot.errors import DataError
from singleshot.images import read_image
from singleshot.prediction.frames import Frame, ImageError
from singleshot.prediction.picture_child import serve
from singleshot.storage.files import REPLACE

AHEAD = 2


class PictureProcess:
    """A child that reads pictures. It starts at once, so that it is ready when the network is.

    Args:
        read: what reads a file; it must be importable by name.
        timeout_s: how long one picture may take.

    A script that uses this needs `if __name__ == "__main__":` around its calls, as all that starts processes does.
    """

    def __init__(self, read: Callable[[Path], ndarray] = read_image, *, timeout_s: float = 60.0) -> None:
        self._decoder = DecoderProcess(serve, read, timeout_s=timeout_s)
        self._asked = deque[Path]()

    def __enter__(self) -> PictureProcess:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def frames(self, files: Sequence[Path]) -> Iterator[Frame | ImageError]:
        """The pictures in order, each as it is or with what is wrong with it.

        Raises StoppedError where no child can be started.
        """
        if self._asked:  # somebody left early: these answers are nobody's
            self._decoder.restart()
        coming, asked = deque(files), deque[Path]()
        self._asked = asked
        while coming or asked:
            while coming and len(asked) <= AHEAD:
                asked.append(coming.popleft())
                self._decoder.ask(asked[-1])
            file = asked.popleft()
            try:
                answer = self._answer(file)
            except GivenUpError as given_up:
                fault = DataError(given_up.message, kind=given_up.kind, remedy=REPLACE, file=file)
                answer = ImageError(str(file), fault)
                for lost in asked:  # what the dead one had been asked
                    self._decoder.ask(lost)
            yield answer

    def close(self) -> None:
        """End the child."""
        self._decoder.end()

    def _answer(self, file: Path) -> Frame | ImageError:
        kind, said = self._decoder.receive()
        if kind is not None:
            return ImageError(str(file), kind(**said))
        image = np.empty(said, np.uint8)
        self._decoder.receive(into=image.reshape(-1).data)
        return Frame(image, str(file))
