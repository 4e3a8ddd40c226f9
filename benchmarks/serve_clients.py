"""Clients for the benchmarks of the server: impatient, steady, slow, and one that only waits to be refused."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import httpx

HEADERS = {"content-type": "image/jpeg"}
PROBES = 8


@dataclass
class Tally:
    """What clients saw."""

    answered_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    wrong: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Tagged:
    """An image and the answer that belongs to it; `model` is empty for the server's first."""

    data: bytes
    size_hw: list[int]
    detections: list[dict[str, Any]]
    model: str = ""


async def ask(client: httpx.AsyncClient, data: bytes, model: str = "") -> httpx.Response:
    """One image, with every detection that the server has."""
    path = "/v1/predict?threshold=0.01" + (f"&model={model}" if model else "")
    return await client.post(path, content=data, headers=HEADERS)


def belongs(answer: Any, tagged: Tagged) -> bool:
    """Whether an answer is that image's: its size, and its detections up to the rounding of a batch."""
    found = answer["detections"]
    if answer["size_hw"] != tagged.size_hw or abs(len(found) - len(tagged.detections)) > 2:
        return False
    best, wanted = found[:5], tagged.detections[:5]
    close = [abs(a["score"] - b["score"]) < 1e-3 for a, b in zip(best, wanted, strict=False)]
    return all(close)


async def until_answered(address: str, tagged: Sequence[Tagged], requests: int, clients: int, tally: Tally) -> None:
    """Clients that ask one image after the other, and again after a 503, until so many are answered."""
    left = iter(range(requests))
    async with connected(address, clients) as client:

        async def one() -> None:
            for number in left:
                mine = tagged[number % len(tagged)]
                for _ in range(1000):
                    start = time.perf_counter()
                    try:
                        answer = await ask(client, mine.data, mine.model)
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


def refusals(port: int, data: bytes, seconds: float, pipe: Connection) -> None:
    """A few clients with plain sockets, each some times a second; sends how long each 503 took. For another process."""
    request = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data
    taken: list[float] = []
    end = time.perf_counter() + seconds

    def one() -> None:
        while time.perf_counter() < end:
            start = time.perf_counter()
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(request)
                status = client.recv(64)[9:12]
            if status == b"503":
                taken.append(time.perf_counter() - start)
            time.sleep(0.5)

    threads = [threading.Thread(target=one) for _ in range(PROBES)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    pipe.send(taken)


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
