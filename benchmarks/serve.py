"""The server under load: no wrong or lost answer, even times below capacity, quick refusals above it, slow clients.

    python -m benchmarks.serve runs/demo/train/best.safetensors
    python -m benchmarks.serve best.safetensors --requests 500 --seconds 10 --slow-seconds 4    the same in a minute

Four parts, each with its target:

1. 64 clients at once until 5,000 requests are answered; those that get 503 ask again. Each picture has a size of its
   own, which comes back with the answer, and is asked for alone first, so that a swapped answer shows.
2. 60 s at 70 % of the rate that part 1 reached, at random times: p99 at most 3 times a full batch's time.
3. Half as long at 300 %: what is refused is refused within 50 ms, and what is answered counts.
4. 200 clients that send a byte a second beside light load: p99 of the others at most 1.3 times what it is without.
   Five runs with and five without take turns; the median of the ratios counts.

Memory (all processes, what is not shared) may grow by 20 MB from the end of a first tenth of part 1 to the end.
The clients share the machine with the server, which is slower for it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import psutil

from benchmarks.timing import machine
from singleshot.data import street_scene

PICTURES = 200
HEADERS = {"content-type": "image/jpeg"}
SLOW_CLIENTS = 200


@dataclass
class Tally:
    """What clients saw."""

    answered_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    wrong: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Tagged:
    """A picture and the answer that belongs to it."""

    data: bytes
    size_hw: list[int]
    detections: list[dict[str, Any]]


class Server:
    """`singleshot serve` as another process."""

    def __init__(self, weights: Path, batch_size: int) -> None:
        command = [sys.executable, "-m", "singleshot", "serve", str(weights), "--port", "0"]
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
        seconds, count = (re.search(rf"singleshot_batch_seconds_{kind} (\S+)", text) for kind in ("sum", "count"))
        return (float(seconds[1]), float(count[1])) if seconds and count else (0.0, 0.0)

    def end(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.terminate()
        return self.process.wait(60)


def pictures(count: int) -> list[bytes]:
    """JPEG files of drawn streets, no two of one size."""
    scenes = [street_scene.scene(11, "test", i).image for i in range(16)]
    sizes = [(240 + i % 20 * 4, 320 + i // 20 * 4) for i in range(count)]
    shown = [cv2.resize(scenes[i % len(scenes)], (wide, high)) for i, (high, wide) in enumerate(sizes)]
    return [cv2.imencode(".jpg", image[..., ::-1])[1].tobytes() for image in shown]


async def ask(client: httpx.AsyncClient, data: bytes) -> httpx.Response:
    """One picture, with every detection that the server has."""
    return await client.post("/v1/predict?threshold=0.01", content=data, headers=HEADERS)


def belongs(answer: Any, tagged: Tagged) -> bool:
    """Whether an answer is that picture's: its size, and its detections up to the rounding of a batch."""
    found = answer["detections"]
    if answer["size_hw"] != tagged.size_hw or abs(len(found) - len(tagged.detections)) > 2:
        return False
    best, wanted = found[:5], tagged.detections[:5]
    close = [abs(a["score"] - b["score"]) < 1e-3 for a, b in zip(best, wanted, strict=False)]
    return all(close)


async def until_answered(address: str, tagged: Sequence[Tagged], requests: int, clients: int, tally: Tally) -> None:
    """Clients that ask one picture after the other, and again after a 503, until so many are answered."""
    left = iter(range(requests))
    async with connected(address, clients) as client:

        async def one() -> None:
            for number in left:
                mine = tagged[number % len(tagged)]
                for _ in range(1000):
                    start = time.perf_counter()
                    try:
                        answer = await ask(client, mine.data)
                    except httpx.HTTPError:
                        tally.lost += 1
                        break
                    taken = time.perf_counter() - start
                    if answer.status_code == 503:
                        tally.refused_s.append(taken)
                        await asyncio.sleep(random.uniform(0.05, 0.5))
                        continue
                    tally.answered_s.append(taken)
                    tally.wrong += answer.status_code != 200 or not belongs(answer.json(), mine)
                    break

        await asyncio.gather(*(one() for _ in range(clients)))


async def at_rate(address: str, tagged: Sequence[Tagged], rate: float, seconds: float, tally: Tally) -> None:
    """Requests at random times (Poisson), whether or not earlier ones are answered."""
    draw = random.Random(5)
    async with connected(address, 512) as client:

        async def one(mine: Tagged) -> None:
            start = time.perf_counter()
            try:
                answer = await ask(client, mine.data)
            except httpx.HTTPError:
                tally.lost += 1
                return
            taken = time.perf_counter() - start
            if answer.status_code == 503:
                tally.refused_s.append(taken)
            else:
                tally.answered_s.append(taken)
                tally.wrong += answer.status_code != 200 or not belongs(answer.json(), mine)

        tasks: list[asyncio.Task[None]] = []
        start = due = time.perf_counter()
        while due - start < seconds:
            due += draw.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(one(draw.choice(tagged))))
        await asyncio.gather(*tasks)


@contextlib.asynccontextmanager
async def connected(address: str, connections: int) -> AsyncIterator[httpx.AsyncClient]:
    """A client with so many connections, open already: what is measured is the server."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=3.0)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as client:
        await client.get("/healthz")
        yield client


@contextlib.asynccontextmanager
async def slow_clients(port: int, count: int) -> AsyncIterator[None]:
    """So many clients that send a byte a second, and come again when they are let go."""

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n")
                    for _ in range(60):
                        writer.write(b"x")
                        await writer.drain()
                        await asyncio.sleep(1)
                finally:
                    writer.close()
            await asyncio.sleep(random.random())

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    await asyncio.sleep(1)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def p99(times_s: Sequence[float]) -> float:
    """In ms."""
    return 1e3 * float(np.quantile(times_s, 0.99)) if times_s else float("nan")


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

    tally, tenth = Tally(), max(options.requests // 10, options.clients)
    await until_answered(server.address, tagged, tenth, options.clients, Tally())
    memory, before, start = server.memory(), server.batches(), time.perf_counter()
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
    await at_rate(server.address, tagged, 3 * capacity, options.seconds / 2, over)
    said(
        "300 %: p99 of a refusal",
        f"{p99(over.refused_s):.1f} ms of {len(over.refused_s)}",
        "50 ms",
        bool(over.refused_s) and p99(over.refused_s) < 50,
    )
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
    grown = server.memory() - memory
    said("memory grown", f"{grown:+.1f} MB of {memory:.0f}", "20 MB", grown < 20)


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
    server = Server(options.weights, options.batch_size)
    try:
        asyncio.run(measure(server, options))
    finally:
        code = server.end()
    said("exit code after SIGTERM", str(code), "143", code == 143)


if __name__ == "__main__":
    main()
