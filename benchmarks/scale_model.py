"""How training would go on to many machines: a model of a step's time, checked against one and two processes here.

    python -m benchmarks.scale_model                measure on this machine, compare, and print the table of clusters
    python -m benchmarks.scale_model --no-measure   the table alone

    step = max(loading, compute(batch / ranks) + all-reduce that the backward pass does not hide)

The compute of half a batch is measured in two processes that do not speak, the all-reduce between two that do; what
the model then says of a step of two processes is compared with a measured one. Beyond this machine its figures are
arithmetic on stated bandwidths, no measurement, and say so. docs/how-to/scale.md draws the conclusions.
"""

from __future__ import annotations

import argparse
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from benchmarks.timing import machine

CLASSES = ("a", "b", "c")
HIDDEN = 0.5
"""Share of the backward pass in which a bucket's all-reduce can run: DDP sends the first bucket when it is full, and
the last one when nothing is left to hide behind."""


@dataclass(frozen=True)
class Network:
    """Between ranks: bytes a second of the slowest link, and seconds before the first byte."""

    name: str
    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Work:
    """One step of all ranks together.

    Args:
        gradient_bytes: of all parameters.
        compute_s: forward, loss, backward and step of one image on one rank.
        fixed_s: of a step, whatever its batch.
        load_s: of an image on one core.
        cores: that load, of each rank.
    """

    gradient_bytes: float
    compute_s: float
    fixed_s: float
    load_s: float
    cores: int


NETWORKS = (
    Network("NVLink, 1 machine", 200e9, 10e-6),
    Network("100 Gbit/s", 12.5e9, 20e-6),
    Network("25 Gbit/s", 3.1e9, 40e-6),
    Network("10 Gbit/s", 1.25e9, 50e-6),
)
# Assumed, not measured: vgg300 in bf16 on a current data-centre GPU, and what 8 cores a GPU decode and augment.
ASSUMED = Work(gradient_bytes=4 * 26.3e6, compute_s=1 / 600, fixed_s=0.005, load_s=1 / 150, cores=8)


def all_reduce_s(gradient_bytes: float, ranks: int, network: Network) -> float:
    """A ring: each rank sends 2 (n − 1) / n of the bytes in 2 (n − 1) messages. 0 for one rank.

    >>> all_reduce_s(100e6, 1, NETWORKS[0]), round(all_reduce_s(1e9, 2, Network("", 1e9, 0.0)), 3)
    (0.0, 1.0)
    """
    if ranks == 1:
        return 0.0
    return 2 * (ranks - 1) / ranks * gradient_bytes / network.bandwidth + 2 * (ranks - 1) * network.latency


def step_s(work: Work, batch: int, ranks: int, network: Network) -> tuple[float, str]:
    """A step of `batch` images on so many ranks, and what it waits for: `compute`, `network` or `loading`."""
    mine = batch / ranks
    compute = work.fixed_s + mine * work.compute_s
    sending = all_reduce_s(work.gradient_bytes, ranks, network)
    shown = max(0.0, sending - HIDDEN * mine * work.compute_s * 2 / 3)  # two thirds of compute is the backward pass
    loading = mine * work.load_s / work.cores
    if loading > compute + shown:
        return loading, "loading"
    return compute + shown, "network" if shown > compute else "compute"


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-measure", action="store_true")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    chosen = parser.parse_args()
    if not chosen.no_measure:
        _check(chosen.batch_size, chosen.steps)
    print("\nvgg300, 32 images a rank; compute and loading are assumed figures, see ASSUMED. Images a second (limit):")
    print(f"{'ranks':>6}" + "".join(f"{network.name:>28}" for network in NETWORKS))
    for ranks in (1, 4, 8, 32, 128):
        cells = []
        for network in NETWORKS:
            seconds, limit = step_s(ASSUMED, 32 * ranks, ranks, network)
            share = 32 * ranks / seconds / (ranks * 32 / step_s(ASSUMED, 32, 1, network)[0])
            cells.append(f"{32 * ranks / seconds:>12,.0f} {share:4.0%} {limit:<10}")
        print(f"{ranks:>6}" + "".join(cells))


def _check(batch: int, steps: int) -> None:
    """Two processes that do not speak give compute beside a neighbour; two that do, the step to foretell."""
    print(machine("torch"), "1 thread a process, the least of", steps, "steps", sep=" ")
    alone = _measured(1, batch, steps)[0]
    strangers = _measured(2, batch, steps, joint=False)[0]
    both, sending, gradient_bytes = _measured(2, batch, steps)
    network = Network("here", gradient_bytes / max(sending, 1e-9), 0.0)
    work = Work(gradient_bytes, strangers / (batch // 2), fixed_s=0.0, load_s=0.0, cores=1)
    foretold, limit = step_s(work, batch, 2, network)
    print(
        f"one process: {alone:.3f} s a step of {batch}; two that do not speak: {strangers:.3f} s of {batch // 2} each"
    )
    print(f"two: an all-reduce of {gradient_bytes / 1e6:.1f} MB takes {sending * 1e3:.0f} ms")
    print(f"two: foretold {foretold:.3f} s a step ({limit}), measured {both:.3f} s: {both / foretold:.2f}x")


def _measured(ranks: int, batch: int, steps: int, *, joint: bool = True) -> tuple[float, float, float]:
    """The least seconds of a step and of an all-reduce alone, and bytes of the gradient.

    The least, because whatever else the machine does can only add.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results = multiprocessing.get_context("spawn").SimpleQueue()
    multiprocessing.spawn(_rank, (ranks, batch, steps, port, joint, results), nprocs=ranks)
    return results.get()


def _rank(rank: int, ranks: int, batch: int, steps: int, port: int, joint: bool, results: Any) -> None:
    from singleshot.detection.ssd import SSD, config_for

    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    torch.manual_seed(0)
    plain = SSD(config_for("lite320-fine", CLASSES, (128, 128)))
    module = torch.nn.parallel.DistributedDataParallel(plain) if ranks > 1 and joint else plain
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    pictures = torch.rand(batch // ranks, 3, 128, 128)
    gradient = torch.zeros(sum(each.numel() for each in plain.parameters()))
    taken, sent = [], []
    for _ in range(steps + 2):
        dist.barrier()
        started = time.perf_counter()
        raw = module(pictures)
        (raw.class_logits.square().mean() + raw.box_offsets.square().mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
        taken.append(time.perf_counter() - started)
        dist.barrier()
        started = time.perf_counter()
        dist.all_reduce(gradient)
        sent.append(time.perf_counter() - started)
    if rank == 0:
        results.put((min(taken[2:]), min(sent[2:]), gradient.numel() * 4.0))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
