from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from singleshot import decoder_process
from singleshot.decoder_process import READY, DecoderProcess, GivenUpError
from singleshot.errors import StoppedError


def _serve(pipe: Any, work: Any) -> None:
    """Answers with what it was asked and its own number; some words end it, one makes it silent."""
    pipe.send(READY)
    while True:
        word = pipe.recv()
        if word == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif word == "leave":
            os._exit(7)
        elif word == "hang":
            time.sleep(600)
        elif word == "bytes":
            pipe.send_bytes(bytes(range(work)))
        else:
            pipe.send((word, os.getpid()))


def _mute(_pipe: Any, _work: Any) -> None:
    """Never says that it is ready."""
    time.sleep(600)


def _dies(_pipe: Any, _work: Any) -> None:
    os._exit(3)


@pytest.fixture
def decoder() -> Iterator[DecoderProcess]:
    process = DecoderProcess(_serve, 5, timeout_s=2.0)
    yield process
    process.end()


def test_answers_come_in_the_order_of_the_questions_from_another_process(decoder: DecoderProcess) -> None:
    for word in "abc":
        decoder.ask(word)
    answers = [decoder.receive() for _ in "abc"]
    assert [word for word, _ in answers] == ["a", "b", "c"]
    assert len({number for _, number in answers} - {os.getpid()}) == 1


@pytest.mark.parametrize(
    ("word", "what", "kind"),
    [
        ("crash", "crashed the decoder (SIGSEGV)", "decoder-crash"),
        ("leave", "crashed the decoder (code 7)", "decoder-crash"),
        ("hang", "could not be decoded within 2 s", "stuck-picture"),
    ],
)
def test_a_crash_or_a_timeout_is_reported_once_and_a_new_process_answers(
    decoder: DecoderProcess, word: str, what: str, kind: str
) -> None:
    decoder.ask("a")
    _, first = decoder.receive()
    decoder.ask(word)
    decoder.ask("lost")
    with pytest.raises(GivenUpError) as told:
        decoder.receive()
    assert (told.value.message, told.value.kind) == (what, kind)
    decoder.ask("b")
    answer, second = decoder.receive()
    assert answer == "b" and second != first
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_an_ended_process_stays_ended(decoder: DecoderProcess) -> None:
    decoder.ask("hang")
    decoder.await_start()
    threading.Timer(0.3, decoder.end).start()
    with pytest.raises(StoppedError, match="was ended"):
        decoder.receive()
    assert not multiprocessing.active_children()


def test_bytes_are_put_where_they_are_wanted(decoder: DecoderProcess) -> None:
    buffer = bytearray(5)
    decoder.ask("bytes")
    decoder.receive(into=memoryview(buffer))
    assert bytes(buffer) == bytes(range(5))


def test_a_question_to_a_dead_process_is_no_error_before_its_answer_is_wanted(decoder: DecoderProcess) -> None:
    decoder.await_start()
    decoder.ask("leave")
    decoder.pipe.poll(2.0)  # the end of the pipe
    decoder.ask("a")
    with pytest.raises(GivenUpError, match="code 7"):
        decoder.receive()


@pytest.mark.parametrize(
    ("serve", "start_s", "what"),
    [(_dies, 30.0, r"could not start \(code 3\)"), (_mute, 0.5, r"could not start in 0\.5 s")],
)
def test_a_process_that_cannot_start_stops_the_work(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[[Any, Any], None], start_s: float, what: str
) -> None:
    monkeypatch.setattr(decoder_process, "START_S", start_s)
    process = DecoderProcess(serve, None)
    process.ask("a")
    with pytest.raises(StoppedError, match=what):
        process.receive()
    process.end()
