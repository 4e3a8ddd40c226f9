"""Pictures read by a process that may die: one that crashes or hangs its decoder is named, and the rest go on.

A decoder is C code that is fed with strangers' bytes. The child reads ahead while the network works here, and hands
the pixels over through a pipe. When it dies, the first picture without an answer is the one at fault; a new child
goes on with the next.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray

from singleshot import pictures
from singleshot.errors import DataError, StoppedError
from singleshot.files import REPLACE
from singleshot.prediction.frames import Frame, Unreadable
from singleshot.prediction.picture_child import serve

AHEAD = 2
START_S = 60.0


class PictureProcess:
    """A child that reads pictures. It starts at once, so that it is ready when the network is.

    Args:
        read: what reads a file; it must be importable by name.
        timeout_s: how long one picture may take.

    A script that uses this needs `if __name__ == "__main__":` around its calls, as all that starts processes does.
    """

    def __init__(self, read: Callable[[Path], ndarray] = pictures.read, *, timeout_s: float = 60.0) -> None:
        self._read, self._timeout_s = read, timeout_s
        self._ready = False
        self._start()

    def __enter__(self) -> PictureProcess:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def frames(self, files: Sequence[Path]) -> Iterator[Frame | Unreadable]:
        """The pictures in order, each as it is or with what is wrong with it.

        Raises StoppedError where no child can be started.
        """
        coming, asked = deque(files), deque[Path]()
        while coming or asked:
            while coming and len(asked) <= AHEAD:
                asked.append(coming.popleft())
                self._ask(asked[-1])
            process, answer = self._process, self._answer(asked.popleft())
            if self._process is not process:
                for file in asked:  # what the dead one had been asked
                    self._ask(file)
            yield answer

    def close(self) -> None:
        """End the child."""
        self._pipe.close()
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        # Spawned, not forked: a process with PyTorch's threads in it must not be forked.
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, self._read), daemon=True)
        self._process.start()
        other.close()
        self._ready = False

    def _ask(self, file: Path) -> None:
        try:
            if self._process.is_alive():
                self._pipe.send(file)
        except OSError:  # it has just died; the answer that does not come will tell
            pass

    def _answer(self, file: Path) -> Frame | Unreadable:
        try:
            if not self._ready:
                self._wait(START_S)
                self._pipe.recv()
                self._ready = True
            self._wait(self._timeout_s)
            said = self._pipe.recv()
            if isinstance(said, tuple) and said[0] is None:
                image = np.empty(said[1], np.uint8)
                self._pipe.recv_bytes_into(image.reshape(-1).data)
                return Frame(image, str(file))
            kind, arguments = said
            return Unreadable(str(file), kind(**arguments))
        except TimeoutError:
            if not self._ready:
                raise StoppedError(f"no process that decodes pictures could start in {START_S:g} s") from None
            return self._given_up(file, f"could not be decoded within {self._timeout_s:g} s", "stuck-picture")
        except (EOFError, OSError):
            self._process.join(1.0)
            code = self._process.exitcode or 0
            name = signal.Signals(-code).name if -code in signal.valid_signals() else f"code {code}"
            if not self._ready:
                what = f"the process that decodes pictures could not start ({name})"
                remedy = 'Keep your script\'s calls under `if __name__ == "__main__":`'
                raise StoppedError(what, remedy=remedy) from None
            return self._given_up(file, f"crashed the decoder ({name})", "decoder-crash")

    def _wait(self, seconds: float) -> None:
        if not self._pipe.poll(seconds):
            raise TimeoutError

    def _given_up(self, file: Path, what: str, kind: str) -> Unreadable:
        self.close()
        self._start()
        return Unreadable(str(file), DataError(what, kind=kind, remedy=REPLACE, file=file))
