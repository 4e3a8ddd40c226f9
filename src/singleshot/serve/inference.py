"""The process in which the network runs: files of pictures come in through a pipe, answers go out.

It is a process of its own for three reasons: a decoder or a driver that crashes takes only this with it, the event
loop's answers never wait for the network, and memory that it loses goes back with it. What comes through the pipe is
bytes and JSON, never a pickle: a process that a hostile picture has taken over can say wrong things and run nothing.
Nothing heavy is imported at the top, because the server's own process imports this file too.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from singleshot.child_process import end_with_parent, leave_signals_to_parent
from singleshot.errors import SingleshotError
from singleshot.serve.batcher import Answer, Asked
from singleshot.serve.refusal import Refusal
from singleshot.serve.settings import Settings

NICENESS = 5
"""The network takes every core it gets; the event loop, which says "full" or "alive", must come first."""

log = logging.getLogger(__name__)


def main(pipe: Connection, path: str, name: str, settings: Settings) -> None:
    """Open the model, say what it is or why it does not open, then answer batches until the pipe is closed.

    Args:
        pipe: the server's.
        path: the model's file.
        name: what the user calls that file, for messages.
        settings: pixels and batch size.
    """
    _prepare()
    from singleshot.serve.seeing import Seer

    try:
        seer = Seer.opened(Path(path), settings.max_pixels, settings.batch_size)
    except SingleshotError as error:
        if error.file is not None:
            error.file = Path(name)
        send_json(pipe, {"exit_code": error.exit_code, "error": str(error)})
        return
    send_json(pipe, {"facts": seer.facts()})
    while True:
        try:
            batch = receive_batch(pipe)
        except EOFError:
            return
        try:
            answers = seer.answers(batch)
        except Exception:  # whatever a model raises costs its batch, which is told so and logged, and nobody else
            log.exception("a batch failed")
            failed = Refusal(500, "internal", "Something failed inside.")
            answers = [Answer(failed.status, failed.body())] * len(batch)
        send_answers(pipe, answers)


def send_batch(pipe: Connection, batch: Sequence[Asked]) -> None:
    """The server's side of `receive_batch`."""
    send_json(pipe, [asked.threshold for asked in batch])
    for asked in batch:
        pipe.send_bytes(asked.picture or b"\0")  # a pipe cannot carry nothing; neither is a picture


def receive_batch(pipe: Connection) -> list[Asked]:
    """What was asked. Raises EOFError where the other side is gone."""
    thresholds = receive_json(pipe)
    return [Asked(pipe.recv_bytes(), threshold) for threshold in thresholds]


def send_answers(pipe: Connection, answers: Sequence[Answer]) -> None:
    """The other side of `receive_answer`."""
    for answer in answers:
        pipe.send_bytes(b"%d " % answer.status + answer.body)


def receive_answer(pipe: Connection) -> Answer:
    """The next answer. Raises EOFError where the other side is gone."""
    status, _, body = pipe.recv_bytes().partition(b" ")
    return Answer(int(status), body)


def send_json(pipe: Connection, what: Any) -> None:
    """One message."""
    pipe.send_bytes(json.dumps(what).encode())


def receive_json(pipe: Connection) -> Any:
    """One message. Raises EOFError where the other side is gone."""
    return json.loads(pipe.recv_bytes())


def _prepare() -> None:
    leave_signals_to_parent()  # the server drains first
    end_with_parent()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
