"""The server under load: no wrong or lost answer, even times below capacity, quick refusals above it, slow clients.

    python -m benchmarks.serve runs/demo/train/best.safetensors
    python -m benchmarks.serve best.safetensors --requests 500 --seconds 10 --slow-seconds 4    the same in a minute

Four parts, each with its target:

1. 64 clients at once until 5,000 requests are answered; those that get 503 ask again. Each image has a size of its
   own, which comes back with the answer, and is asked for alone first, so that a swapped answer shows.
2. 60 s at 70 % of the rate that part 1 reached, at random times: p99 at most 3 times a full batch's time.
3. Half as long at 300 %: what is refused is refused within 50 ms. A process of its own measures it, with plain
   sockets, because the one that makes the load has more to do than the server.
4. 200 clients that send a byte a second beside light load: p99 of the others at most 1.3 times what it is without.
   Five runs with and five without take turns; the median of the ratios counts.

Memory (all processes, what is not shared) may grow by 20 MB: it is looked at twice a second after a warm-up, and the
median of the last fifth is compared with that of the first.
The clients share the machine with the server, which is slower for it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import httpx
import numpy as np
import psutil

from benchmarks.serve_clients import Tagged, Tally, ask, at_rate, connected, refusals, slow_clients, until_answered
from benchmarks.timing import machine
from singleshot.streets import scene

PICTURES = 200
SLOW_CLIENTS = 200
WARM_UP = 400


class Server:
    """`singleshot serve` as another process."""

    def __init__(self, models: Sequence[str], batch_size: int) -> None:
        command = [sys.executable, "-m", "singleshot", "serve", *models, "--port", "0"]
        self.process = subprocess.Popen([*command, "--batch-size", str(batch_size)], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline() if self.process.stdout else ""
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if found is None:
            raise SystemExit(f"the server did not start: {line}")
        self.address, self.port = found[0], int(found[1])

    def memory(self) -> float:
        """MB of all its processes that nobody shares."""
        every = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        return sum(each.memory_full_info().uss for each in every) / 1e6

    def batches(self) -> tuple[float, float]:
        """Seconds in batches and how many they were, so far."""
        text = httpx.get(f"{self.address}/metrics").text
        found = [
            re.findall(rf"singleshot_batch_duration_seconds_{kind}{{\S+}} (\S+)", text) for kind in ("sum", "count")
        ]
        seconds, count = (sum(map(float, each)) for each in found)
        return seconds, count

    def end(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.terminate()
        return self.process.wait(60)


def pictures(count: int) -> list[bytes]:
    """JPEG files of drawn streets, no two of one size."""
    scenes = [scene.scene(11, "test", i).image for i in range(16)]
    sizes = [(240 + i % 20 * 4, 320 + i // 20 * 4) for i in range(count)]
    shown = [cv2.resize(scenes[i % len(scenes)], (wide, high)) for i, (high, wide) in enumerate(sizes)]
    return [cv2.imencode(".jpg", image[..., ::-1])[1].tobytes() for image in shown]


def p99(times_s: Sequence[float]) -> float:
    """In ms."""
    return 1e3 * float(np.quantile(times_s, 0.99)) if times_s else float("nan")


async def watch_memory(server: Server, seen: list[float]) -> None:
    """Add a figure twice a second until cancelled."""
    while True:
        seen.append(await asyncio.to_thread(server.memory))
        await asyncio.sleep(0.5)


def said(what: str, figure: str, target: str, fine: bool) -> None:
    """One line of the table."""
    print(f"{what:46} {figure:>26}   {target:22} {'yes' if fine else 'NO'}", flush=True)


async def measure(server: Server, options: argparse.Namespace) -> None:
    """All four parts."""
    tagged = []
    async with connected(server.address, 1) as client:
        for data in pictures(PICTURES):
            answer = (await ask(client, data)).json()
            tagged.append(Tagged(data, answer["size_hw"], answer["detections"]))

    tally, warm_up = Tally(), max(options.requests // 10, WARM_UP)
    await until_answered(server.address, tagged, warm_up, options.clients, Tally())
    memory: list[float] = []
    watch = asyncio.create_task(watch_memory(server, memory))
    before, start = server.batches(), time.perf_counter()
    await until_answered(server.address, tagged, options.requests, options.clients, tally)
    taken, after = time.perf_counter() - start, server.batches()
    capacity = len(tally.answered_s) / taken
    batch_ms = 1e3 * (after[0] - before[0]) / (after[1] - before[1])
    print(
        f"{capacity:.1f} pictures/s with {options.clients} clients, {batch_ms:.0f} ms a batch of "
        f"{len(tally.answered_s) / (after[1] - before[1]):.1f}, {len(tally.refused_s)} refused and asked again\n"
    )
    print(f"{'':46} {'measured':>26}   {'target':22} met")
    whole = f"{len(tally.answered_s)}, {tally.wrong}, {tally.lost}"
    fine = len(tally.answered_s) == options.requests and not tally.wrong and not tally.lost
    said("answered, wrong, lost", whole, f"{options.requests}, 0, 0", fine)

    calm = Tally()
    await at_rate(server.address, tagged, 0.7 * capacity, options.seconds, calm)
    ratio = p99(calm.answered_s) / batch_ms
    said("70 % of capacity: p99", f"{p99(calm.answered_s):.0f} ms, {ratio:.2f} batches", "3 batches", ratio <= 3)
    whole = f"{len(calm.answered_s)}, {len(calm.refused_s)}, {calm.wrong}, {calm.lost}"
    said("  answered, refused, wrong, lost", whole, "-, -, 0, 0", not calm.wrong and not calm.lost)

    over = Tally()
    ours, theirs = multiprocessing.Pipe()
    arguments = (server.port, tagged[0].data, options.seconds / 2, theirs)
    probe = multiprocessing.get_context("fork").Process(target=refusals, args=arguments)
    probe.start()
    await at_rate(server.address, tagged, 3 * capacity, options.seconds / 2, over)
    refused_s = ours.recv()
    probe.join()
    fine = bool(refused_s) and p99(refused_s) < 50
    said("300 %: p99 of a refusal", f"{p99(refused_s):.1f} ms of {len(refused_s)}", "50 ms", fine)
    goodput = len(over.answered_s) / (options.seconds / 2) / capacity
    said("  answered, of capacity", f"{goodput:.0%}", "-", True)

    ratios = []
    for turn in range(options.rounds):
        tallies = {"with": Tally(), "without": Tally()}
        for name in sorted(tallies, reverse=bool(turn % 2)):
            slow = slow_clients(server.port, SLOW_CLIENTS) if name == "with" else contextlib.nullcontext()
            async with slow:
                await at_rate(server.address, tagged, 0.4 * capacity, options.slow_seconds, tallies[name])
        ratios.append(p99(tallies["with"].answered_s) / p99(tallies["without"].answered_s))
    middle = statistics.median(ratios)
    said(f"{SLOW_CLIENTS} slow clients: p99 of the others", f"{middle:.2f} times", "1.3 times", middle <= 1.3)
    watch.cancel()
    fifth = max(1, len(memory) // 5)
    first, last = statistics.median(memory[:fifth]), statistics.median(memory[-fifth:])
    said("memory", f"{first:.0f} to {last:.0f} MB", "20 MB more", last - first < 20)


def main() -> None:
    """Start the server, measure, end it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="of part 2; part 3 takes half of it")
    parser.add_argument("--slow-seconds", type=float, default=10.0, help="of each run of part 4")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(machine("torch", "fastapi", "uvicorn", "h11"), f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '-')}")
    server = Server([str(options.weights)], options.batch_size)
    try:
        asyncio.run(measure(server, options))
    finally:
        code = server.end()
    said("exit code after SIGTERM", str(code), "143", code == 143)


if __name__ == "__main__":
    main()
