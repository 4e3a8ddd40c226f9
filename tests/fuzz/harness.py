"""Damaged input for parsers, by the thousand: they answer, or fail by an error that a user can read. Nothing else.

A target has whole inputs (`seeds`), pieces of its grammar, and a law. Inputs are mutated with a seeded generator, so
that a run can be repeated; one that leads to an answer not seen before (another message, but for numbers and names) is
kept and mutated further, which leads deeper than noise does. What breaks the law is written to a file and ends the run.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from singleshot.errors import SingleshotError

SLOW_S = 5.0
"""Of one input, in processor time: more is a hang."""
MOST_KEPT = 400
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Target:
    """A parser under test.

    Args:
        name: for messages and file names.
        seeds: whole inputs, at least one of them good.
        pieces: bits of the grammar that mutations put in.
        run: parses the bytes; the folder is for its files. Returns a word on what came out, raises AssertionError
            where the law is broken, and may raise SingleshotError.
    """

    name: str
    seeds: Sequence[bytes]
    pieces: Sequence[bytes]
    run: Callable[[bytes, Path], str]


@dataclass
class Outcome:
    """What a run did: how many inputs, the slowest one's seconds, and how often each answer came."""

    inputs: int = 0
    slowest_s: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)


class FoundError(Exception):
    """An input that breaks the law, which is kept in `file`."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file}: {why}")
        self.file = file


def fuzz(target: Target, *, seconds: float, seed: int = 0, keep: Path | None = None) -> Outcome:
    """Mutate and parse for so many seconds, at least once over all seeds.

    Raises FoundError for an exception that is no SingleshotError, a message of more than one line, and a hang; its
    cause is the exception.
    """
    rng = np.random.default_rng(seed)
    corpus = [bytes(each) for each in target.seeds]
    outcome = Outcome()
    end = time.monotonic() + seconds
    memory = Path("/dev/shm")  # a disk would be most of the time
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        while outcome.inputs < len(target.seeds) or time.monotonic() < end:
            first = outcome.inputs < len(target.seeds)
            data = corpus[outcome.inputs] if first else _mutated(rng, corpus, target.pieces)
            start = time.process_time()
            try:
                answer = _answer(target, data, Path(scratch))
            except Exception as error:
                raise FoundError(_kept(target, data, keep), f"{type(error).__name__}: {error}") from error
            spent = time.process_time() - start
            if spent > SLOW_S:
                raise FoundError(_kept(target, data, keep), f"took {spent:.1f} s")
            outcome.inputs += 1
            outcome.slowest_s = max(outcome.slowest_s, spent)
            outcome.answers[answer] += 1
            if outcome.answers[answer] == 1 and len(corpus) < MOST_KEPT:
                corpus.append(data)
    return outcome


def _answer(target: Target, data: bytes, scratch: Path) -> str:
    """What the parser says to an input, without what differs from one input to the next."""
    try:
        return target.run(data, scratch)
    except SingleshotError as error:
        said = str(error)
        assert error.exit_code != 70, said
        assert "\n" not in said and said.isprintable(), said
        said.encode()
        return re.sub(r"'[^']*'|\"[^\"]*\"|[0-9.]+", "#", error.message)[:120]


def _mutated(rng: np.random.Generator, corpus: Sequence[bytes], pieces: Sequence[bytes]) -> bytes:
    data = corpus[rng.integers(len(corpus))]
    for _ in range(int(rng.geometric(0.4))):
        at, length = int(rng.integers(len(data) + 1)), int(rng.geometric(0.1))
        match int(rng.integers(8)):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + data[at + length :]
            case 2:
                data = data[:at] + pieces[rng.integers(len(pieces))] + data[at:]
            case 3:
                data = data[:at] + pieces[rng.integers(len(pieces))] + data[at + length :]
            case 4:
                data = data[:at] + rng.bytes(length) + data[at + length :]
            case 5:
                if at < len(data):
                    data = data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]
            case 6:
                data = data[:at] + data[at : at + length] * int(rng.integers(2, 6)) + data[at:]
            case _:
                other = corpus[rng.integers(len(corpus))]
                data = data[:at] + other[int(rng.integers(len(other) + 1)) :]
    return data[:MAX_BYTES]


def _kept(target: Target, data: bytes, keep: Path | None) -> Path:
    folder = Path(tempfile.gettempdir()) if keep is None else keep
    file = folder / f"fuzz-{target.name}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    file.write_bytes(data)
    return file


def main(target: Target) -> None:
    """A long run from the command line: `python -m tests.fuzz.NAME --minutes 10 [--seed S] [--file INPUT]`."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.fuzz.{target.name}")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", type=Path, help="parse this one input, to look at what was found")
    chosen = parser.parse_args()
    if chosen.file is not None:
        with tempfile.TemporaryDirectory() as scratch:
            sys.stdout.write(f"{_answer(target, chosen.file.read_bytes(), Path(scratch))}\n")
        return
    start, seed = time.monotonic(), chosen.seed
    outcome = fuzz(target, seconds=60 * chosen.minutes, seed=seed, keep=Path.cwd())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = outcome.inputs / (time.monotonic() - start)
    sys.stdout.write(
        f"{target.name}: {outcome.inputs} inputs (seed {seed}), {rate:.0f}/s, {len(outcome.answers)} answers, "
        f"slowest {outcome.slowest_s:.2f} s, peak memory {peak:.0f} MB, nothing found\n"
    )
    for answer, count in outcome.answers.most_common(12):
        sys.stdout.write(f"  {count:>8}  {answer}\n")
