"""Every system call of a save fails once, in four ways: what is on the disk is the old or the new, and whole.

    python -m tests.chaos.failing_calls            a few calls
    python -m tests.chaos.failing_calls --long     every call, and writes that take less than they were given

`strace` does it in the kernel's place: a child with everything loaded waits, strace attaches to it and makes its n-th
fsync fail with EIO, or kills it there; then the child saves. A save that says that it worked must be there; one that
fails must say so with an error for the user; either way the previous one is whole, or the new one is.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from singleshot import weights
from singleshot.detection.ssd import SSD, config_for
from singleshot.training import checkpoint
from singleshot.training.checkpoint import CheckpointConfig
from tests.chaos.runs import bits, child, ended, newest

CALLS = (
    "?openat,?mkdir,?write,?fsync,?close,?rename,?unlink,?unlinkat,?rmdir,"
    "?statfs,?newfstatat,?fstat,?fstatfs,?lseek,?ioctl,?getdents64,?utimensat"
)
"""Those that concern files; the question mark is for processors that do not have one of them."""
BLOWS = ("error=ENOSPC", "error=EIO", "error=EINTR", "error=EACCES", "signal=KILL")
GOOD_ENDS = (0, 74, 77, -signal.SIGKILL)
NETWORK = SSD(config_for("lite320-fine", ("square",), (64, 96)))


@dataclass(frozen=True)
class Save:
    """A kind of save.

    Args:
        name: for the report.
        begin: makes what was there before.
        save: writes the new one.
        state: "old" or "new", whichever is there and whole; else it raises.
    """

    name: str
    begin: Callable[[Path], object]
    save: Callable[[Path], object]
    state: Callable[[Path], str]


def _write_checkpoint(root: Path, step: int) -> None:
    checkpoint.write(root, step, {"a": torch.full((50_000,), float(step))}, {"step": step})
    checkpoint.prune(root, CheckpointConfig(keep=2), step)


def _begin_checkpoints(root: Path) -> None:
    for step in (1, 2):
        _write_checkpoint(root, step)


def _checkpoint_state(root: Path) -> str:
    for path in root.glob("step-*"):
        checkpoint.read(path)
    found = newest(root)
    assert found is not None and found.step in (2, 3)
    assert torch.equal(found.tensors["a"], torch.full((50_000,), float(found.step)))
    checkpoint.clean(root)
    assert not list(root.glob(".*"))
    return "new" if found.step == 3 else "old"


def _write_weights(root: Path, bias: float) -> None:
    with torch.no_grad():
        next(NETWORK.parameters()).fill_(bias)
    weights.save(root / "best.safetensors", NETWORK, {})


def _weights_state(root: Path) -> str:
    value = float(next(weights.load(root / "best.safetensors").network.parameters()).detach().mean())
    assert bits(root / "best.safetensors") and value in (0.5, 0.25)
    return "new" if value == 0.25 else "old"


SAVES = (
    Save("a checkpoint", _begin_checkpoints, lambda root: _write_checkpoint(root, 3), _checkpoint_state),
    Save(
        "a weights file",
        lambda root: _write_weights(root, 0.5),
        lambda root: _write_weights(root, 0.25),
        _weights_state,
    ),
)


def strace_works() -> bool:
    """Whether strace is here and may attach to a process."""
    if shutil.which("strace") is None:
        return False
    pid = child(signal.pause)
    watcher = subprocess.Popen(["strace", "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    first = watcher.stderr.readline() if watcher.stderr else ""
    os.kill(pid, signal.SIGKILL)
    ended(pid)
    watcher.communicate()
    return "attached" in first


def under_strace(options: Sequence[str], work: Callable[[], object]) -> tuple[int, str]:
    """How a child ends that does the work while strace meddles with it, and strace's record of its calls."""
    reader, writer = os.pipe()
    told, telling = os.pipe()

    def wait_and_work() -> None:
        os.close(writer)
        os.write(telling, b".")  # from here on every call is one of the save
        os.read(reader, 1)  # until strace has attached
        work()

    pid = child(wait_and_work)
    os.close(reader)
    os.close(telling)
    os.read(told, 1)
    os.close(told)
    with tempfile.NamedTemporaryFile("r") as record:
        command = ["strace", "-o", record.name, *options, "-p", str(pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as watcher:
            attached = watcher.stderr.readline() if watcher.stderr else ""
            assert "attached" in attached, attached
            os.close(writer)
            code = ended(pid)
        return code, record.read()


def calls_of(save: Save, root: Path) -> Counter[str]:
    """How often a save makes each system call that concerns files."""
    code, record = under_strace(["-e", f"trace={CALLS}"], lambda: save.save(root))
    assert code == 0, code
    return Counter(re.findall(r"^(\w+)\(", record, re.MULTILINE))


def check(save: Save, root: Path, code: int, what: str) -> str:
    """The state that is left; AssertionError where the child's word and the disk differ."""
    assert code in GOOD_ENDS, f"{save.name}, {what}: ended with {code}"
    state = save.state(root)
    assert state == "new" or code != 0, f"{save.name}, {what}: said to be saved, and is not"
    return state


def fail_each_call(save: Save, every: int) -> Counter[str]:
    """Let every `every`-th call of a save fail in each way; how often each end was seen."""
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch, "fresh")
        fresh.mkdir()
        save.begin(fresh)

        def run(what: str, go: Callable[[Path], int]) -> None:
            root = Path(scratch, "root")
            shutil.copytree(fresh, root)
            code = go(root)
            ends[f"{_END.get(code, code)}, {check(save, root, code, what)}"] += 1
            shutil.rmtree(root)

        counts: list[Counter[str]] = []
        run("watched", lambda root: (counts.append(calls_of(save, root)), 0)[1])
        cases = [(call, nth, blow) for call, n in counts[0].items() for nth in range(1, n + 1) for blow in BLOWS]
        for call, nth, blow in cases[::every]:
            inject = ["-e", f"trace={call}", "-e", f"inject={call}:{blow}:when={nth}"]
            run(f"{blow} at {call} {nth}", lambda root, inject=inject: under_strace(inject, lambda: save.save(root))[0])
        print(f"{save.name}: {sum(counts[0].values())} calls ({', '.join(f'{n} {c}' for c, n in counts[0].items())})")
        for limit in range(0, 250_000, 12_500 * every):  # the kernel takes a part, then no more
            run(f"file size limit {limit}", lambda root, limit=limit: ended(child(lambda: _limited(save, root, limit))))
        run("1,000 bytes a write", lambda root: ended(child(lambda: _dribbled(save, root))))
    print("   " + "; ".join(f"{end}: {count}" for end, count in sorted(ends.items())))
    return ends


_END = {0: "saved", 74: "failed with 74", 77: "failed with 77", -9: "killed"}


def _limited(save: Save, root: Path, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    save.save(root)


def _dribbled(save: Save, root: Path) -> None:
    honest, plain = io.FileIO.write, Path.open

    class Dribble(io.FileIO):
        def write(self, data: Any) -> int:
            return honest(self, memoryview(data)[:1000])

    def opened(path: Path, mode: str = "r", buffering: int = -1, **options: Any) -> Any:
        if "b" in mode and ("w" in mode or "x" in mode):
            raw = Dribble(path, mode.replace("b", ""))
            return raw if buffering == 0 else io.BufferedWriter(raw)
        return plain(path, mode, buffering, **options)

    Path.open = opened  # pyright: ignore[reportAttributeAccessIssue]
    save.save(root)


def main(every: int) -> list[Counter[str]]:
    """Every kind of save, and for each every `every`-th failure."""
    for save in SAVES:  # what is imported and compiled at the first save is no part of a save
        with tempfile.TemporaryDirectory() as scratch:
            save.begin(Path(scratch))
    return [fail_each_call(save, every) for save in SAVES]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--long", action="store_true")
    given = parser.parse_args()
    main(1 if given.long else 17)
