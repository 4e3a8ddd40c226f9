"""Fair timing: rivals take turns, and the figure is the median.

A machine's speed drifts (heat, neighbours, caches), so rivals measured one after the other are measured on different
machines. Here every round runs each of them once, in an order that alternates, and each one's median over the rounds
counts. The clock is this process's CPU time unless another one is given: what else the machine does then hardly
counts in, and with one thread it is the wall time of an idle machine.

    one_thread()
    times = interleaved({"ours": ours, "peer": peer}, repeats=15)
    print(machine("torch", "numpy"))
    print(table(times, per="image", count=64))
    print(ratio(times, "peer", "ours"))
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


class Seconds(float):
    """What a call returns that has measured itself, in another process say; it is not timed again."""


@dataclass(frozen=True)
class Spread:
    """One rival's rounds, in seconds."""

    median_s: float
    least_s: float
    most_s: float
    rounds: int


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 9,
    warm_up: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Spread]:
    """Each call's time over `repeats` rounds in which all take turns; the first `warm_up` rounds do not count.

    A call that returns `Seconds` is taken at its word. `time.perf_counter` is the clock for work in several threads
    or processes, or on a GPU.

    >>> spread = interleaved({"peer": lambda: Seconds(0.2)}, repeats=3)["peer"]
    >>> spread.median_s, spread.rounds
    (0.2, 3)
    """
    seen: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + repeats):
        names = list(calls) if turn % 2 else list(calls)[::-1]
        for name in names:
            start = clock()
            answer = calls[name]()
            taken = float(answer) if isinstance(answer, Seconds) else clock() - start
            if turn >= warm_up:
                seen[name].append(taken)
    return {name: Spread(statistics.median(some), min(some), max(some), len(some)) for name, some in seen.items()}


def ratio(times: Mapping[str, Spread], slower: str, faster: str) -> float:
    """How many times the one's median the other's is."""
    return times[slower].median_s / times[faster].median_s


def table(times: Mapping[str, Spread], *, per: str = "call", count: int = 1) -> str:
    """One line a rival: the median in ms per `per`, of which a call makes `count`, its spread, and the rate."""
    width = max(map(len, times))
    plural = f"{per}es" if per.endswith("ch") else f"{per}s"
    lines = [f"{'':{width}}  ms/{per}: median [least – most]   {plural}/s"]
    for name, spread in times.items():
        median, least, most = (1e3 * some / count for some in (spread.median_s, spread.least_s, spread.most_s))
        rate = count / spread.median_s if spread.median_s else float("inf")
        lines.append(f"{name:{width}}  {median:10.3f} [{least:.3f} – {most:.3f}]  {rate:10.1f}")
    return "\n".join(lines)


def machine(*packages: str) -> str:
    """What ran it: processor, cores, memory, Python, and the versions of those packages (left out where absent)."""
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join([_processor(), f"{cores} cores", f"Python {platform.python_version()}", *versions])


def one_thread() -> None:
    """Keep torch and OpenCV, where they are loaded, to one thread; `OMP_NUM_THREADS=1` does it from outside."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
