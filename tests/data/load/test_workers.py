"""What happens to work in other processes. `fork` is used where the work itself is a function of this file."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from singleshot.data.load.memory import SHARED_MEMORY
from singleshot.data.load.workers import Begin, Workers
from singleshot.errors import ConfigError, StoppedError
from tests.training.conftest import draw_squares


def file_of(item: int) -> Path:
    return Path(f"pictures/{item}.jpg")


def square(task: int, begin: Begin) -> int:
    begin(task)
    return task * task


def die_at_three(task: int, begin: Begin) -> int:
    begin(task)
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def crash_at_three(task: int, begin: Begin) -> int:
    begin(task)
    if task == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return task


def hang_at_three(task: int, begin: Begin) -> int:
    begin(task)
    if task == 3:
        os.kill(os.getpid(), signal.SIGSTOP)
    return task


def fail_at_three(task: int, begin: Begin) -> int:
    if task == 3:
        raise RuntimeError("DataLoader timed out, as it were")
    return task


def environment(task: int, begin: Begin) -> tuple[str, int]:
    return os.environ["CUDA_VISIBLE_DEVICES"], torch.get_num_threads()


def pool(work: object, workers: int = 2, **options: object) -> Workers:
    return Workers(work, workers=workers, file_of=file_of, start_method="fork", **options)


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = set(multiprocessing.active_children())
    yield
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_the_order_of_their_tasks_run_after_run(workers: int) -> None:
    some = pool(square, workers)
    assert list(some.run(range(20))) == [n * n for n in range(20)]
    children = {process.pid for process in multiprocessing.active_children()}
    assert list(some.run(range(5, 8))) == [25, 36, 49]
    assert {process.pid for process in multiprocessing.active_children()} == children
    assert list(some.run([])) == []
    some.close()
    assert list(some.run([3])) == [9]
    some.close()


def test_global_random_numbers_are_left_alone() -> None:
    state = torch.get_rng_state()
    some = pool(square)
    list(some.run(range(3)))
    some.close()
    assert torch.equal(torch.get_rng_state(), state)


def test_workers_see_no_gpu_and_take_one_core_each() -> None:
    some = pool(environment)
    assert list(some.run(range(2))) == [("", 1), ("", 1)]
    some.close()


@pytest.mark.parametrize(("work", "reason"), [(die_at_three, "out of memory"), (crash_at_three, "SIGSEGV")])
def test_f10_f11_a_dead_worker_is_an_error_within_seconds_and_names_its_file(work: object, reason: str) -> None:
    some = pool(work)
    start = time.monotonic()
    with pytest.raises(StoppedError, match=reason) as caught:
        list(some.run(range(8)))
    assert time.monotonic() - start < 5
    assert caught.value.file == Path("pictures/3.jpg")
    assert caught.value.exit_code == 75


def test_new_workers_take_over_after_a_death() -> None:
    some = pool(die_at_three)
    with pytest.raises(StoppedError):
        list(some.run(range(8)))
    assert list(some.run([1, 2])) == [1, 2]
    some.close()


def test_f12_a_stuck_worker_is_an_error_after_the_timeout_and_names_its_file() -> None:
    some = pool(hang_at_three, timeout_s=1.5)
    start = time.monotonic()
    with pytest.raises(StoppedError, match=r"nothing for 1\.5 s") as caught:
        list(some.run(range(8)))
    assert time.monotonic() - start < 6
    assert caught.value.file == Path("pictures/3.jpg")


def test_a_slow_worker_is_waited_for() -> None:
    def slow(task: int, begin: Begin) -> int:
        time.sleep(1.3)
        return task

    some = pool(slow, 1, timeout_s=20.0)
    assert list(some.run([7])) == [7]
    some.close()


def test_a_bug_in_the_work_is_not_taken_for_a_timeout() -> None:
    some = pool(fail_at_three)
    with pytest.raises(RuntimeError, match="as it were"):
        list(some.run(range(8)))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_left_early_does_not_disturb_the_next(workers: int) -> None:
    some = pool(square, workers)
    for _ in some.run(range(50)):
        break
    assert list(some.run(range(4))) == [0, 1, 4, 9]
    some.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_older_run_says_that_a_later_one_took_its_place(workers: int) -> None:
    some = pool(square, workers)
    older, later = some.run(range(10)), some.run(range(4))
    assert [next(older), next(later)] == [0, 0]
    with pytest.raises(RuntimeError, match="another run"):
        next(older)
    assert list(later) == [1, 4, 9]
    some.close()


@pytest.mark.parametrize("bad", [{"workers": -1}, {"prefetch": 0}, {"timeout_s": 0.0}])
def test_impossible_numbers_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Workers(square, file_of=file_of, **({"workers": 1} | bad))


def die_with_a_name_left(task: int, begin: Begin) -> int:
    (SHARED_MEMORY / f"torch_{os.getpid()}_1_2").touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return task


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="this system shows no shared memory")
def test_f13_a_killed_worker_leaves_nothing_in_shared_memory() -> None:
    before = set(SHARED_MEMORY.iterdir())
    with pytest.raises(StoppedError):
        list(pool(die_with_a_name_left, 1).run(range(3)))
    assert [path for path in set(SHARED_MEMORY.iterdir()) - before if path.name.endswith("_1_2")] == []


ABANDONED = """
import multiprocessing, os, sys, time
from pathlib import Path
import torch
from singleshot.data.load.memory import SHARED_MEMORY
from singleshot.data.load.workers import Workers

def work(task, begin):
    if SHARED_MEMORY.is_dir():
        (SHARED_MEMORY / f"torch_{os.getpid()}_1_2").touch()  # as if the kill came between opening it and its unlinking
    return torch.full((1000,), task)

if __name__ == "__main__":
    some = Workers(work, workers=1, file_of=Path, start_method=sys.argv[1])
    results = some.run(range(1_000_000))
    next(results)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
def test_f13_a_killed_parent_leaves_no_worker_and_no_shared_memory_behind(start_method: str, tmp_path: Path) -> None:
    script = tmp_path / "abandoned.py"
    script.write_text(ABANDONED)
    with subprocess.Popen([sys.executable, script, start_method], stdout=subprocess.PIPE, text=True) as parent:
        pids = (parent.stdout or io.StringIO()).readline().split()
        parent.kill()
    assert pids
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert [left for pid in pids for left in SHARED_MEMORY.glob(f"torch_{pid}_*")] == []


@pytest.mark.parametrize("call", ["train", "evaluate"])
def test_a_script_without_the_main_guard_is_reported_so_by_train_and_evaluate(tmp_path: Path, call: str):
    squares = tmp_path / "squares"
    draw_squares(squares)
    script = tmp_path / "script.py"
    script.write_text(
        "import singleshot, torch\n"
        "from dataclasses import replace\n"
        "from singleshot.detection.ssd import SSD, config_for\n"
        "from singleshot.prediction.predictor import Detector\n"
        "recipe = replace(singleshot.Recipe(), model='lite320-fine', input_size_hw=(64, 96), epochs=None, steps=1)\n"
        "recipe = replace(recipe, batch_size=1, workers=1, train_subset=0)\n"
        f"if {call!r} == 'train':\n"
        f"    singleshot.train({str(squares)!r}, recipe, out={str(tmp_path / 'run')!r}, val_split=None)\n"
        "model = Detector(SSD(config_for('lite320-fine', ['square'], (64, 96))).eval())\n"
        f"singleshot.evaluate(model, {str(squares)!r}, split='train', workers=1)\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=False)
    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == 1 and "StoppedError" in last and "Put your script" in last and "__main__" in last
