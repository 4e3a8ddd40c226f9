"""One server with two models beside one server with one: images a second, latency and memory, in turns.

    python -m benchmarks.serve_models runs/demo/train/best.safetensors
    python -m benchmarks.serve_models day.safetensors --second night.safetensors --requests 2000

Each round asks the server with one model, then that with two (half of the requests each), with the same images and the
same number of clients; the next round starts with the other. Medians over the rounds count, and above all their ratio:
clients and both servers share the machine, and the server that is not asked only waits.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.serve import Server, pictures
from benchmarks.serve_clients import Tagged, Tally, ask, connected, until_answered
from benchmarks.timing import machine

IMAGES = 64


async def tagged(server: Server, model: str, data: list[bytes]) -> list[Tagged]:
    """Each image with the answer of a model."""
    found = []
    async with connected(server.address, 1) as client:
        for each in data:
            answer = (await ask(client, each, model)).json()
            found.append(Tagged(each, answer["size_hw"], answer["detections"], model))
    return found


async def measure(one: Server, two: Server, options: argparse.Namespace) -> None:
    """Take turns, and print the table."""
    data = pictures(IMAGES)
    alone = await tagged(one, "first", data)
    first, second = await tagged(two, "first", data), await tagged(two, "second", data)
    mixed = [each for pair in zip(first, second, strict=True) for each in pair]
    rates: dict[str, list[float]] = {"one model": [], "two models": []}
    tallies = {"one model": Tally(), "two models": Tally()}
    for turn in range(options.rounds):
        for name in sorted(rates, reverse=bool(turn % 2)):
            server, images = (one, alone) if name == "one model" else (two, mixed)
            start, tally = time.perf_counter(), tallies[name]
            before = len(tally.answered_s)
            await until_answered(server.address, images, options.requests, options.clients, tally)
            rates[name].append((len(tally.answered_s) - before) / (time.perf_counter() - start))
    print(f"{'':12} {'images/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'MB':>6} {'503':>6} {'wrong':>6} {'lost':>5}")
    for name, server in (("one model", one), ("two models", two)):
        tally = tallies[name]
        p50, p99 = 1e3 * np.quantile(tally.answered_s, [0.5, 0.99])
        counts = f"{len(tally.refused_s):6} {tally.wrong:6} {tally.lost:5}"
        print(f"{name:12} {statistics.median(rates[name]):9.1f} {p50:8.0f} {p99:8.0f} {server.memory():6.0f} {counts}")
    ratios = [b / a for a, b in zip(rates["one model"], rates["two models"], strict=True)]
    print(f"two models answer {statistics.median(ratios):.2f} times as many images a second as one")


def main() -> None:
    """Start both servers, measure, end them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--second", type=Path, help="the other model; the same one again if not given")
    parser.add_argument("--requests", type=int, default=1000, help="of each server in each round")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    print(machine("torch", "fastapi", "uvicorn", "h11"), f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '-')}")
    second = options.second or options.weights
    servers = [Server([f"first={options.weights}"], options.batch_size)]
    try:
        servers.append(Server([f"first={options.weights}", f"second={second}"], options.batch_size))
        asyncio.run(measure(*servers, options))
    finally:
        for server in servers:
            server.end()


if __name__ == "__main__":
    main()
