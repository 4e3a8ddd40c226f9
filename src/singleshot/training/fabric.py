"""Device, precision and ranks: Lightning Fabric, opened in one place.

Fabric moves modules, enters autocast and reduces gradients, and nothing more: the loop, the sampler and every save
are our own. Two releases of the parent package carried malware on 2026-04-30 and are refused by number.
"""

from __future__ import annotations

import datetime
import logging
import os
import socket
import time
from pathlib import Path
from typing import Literal

import torch
from torch.distributed import DistNetworkError, DistStoreError

from singleshot.errors import ConfigError, UnreachableError
from singleshot.training import children

try:
    from lightning_fabric import Fabric, __version__
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.strategies.launchers import subprocess_script
    from lightning_fabric.utilities.exceptions import MisconfigurationException
except ImportError:  # minimal GPU images have the parent package instead
    from lightning import __version__  # pyright: ignore[reportMissingImports]
    from lightning.fabric import Fabric  # pyright: ignore[reportMissingImports]
    from lightning.fabric.strategies.ddp import DDPStrategy  # pyright: ignore[reportMissingImports]
    from lightning.fabric.strategies.launchers import subprocess_script  # pyright: ignore[reportMissingImports]
    from lightning.fabric.utilities.exceptions import (  # pyright: ignore[reportMissingImports]
        MisconfigurationException,
    )

if __version__ in ("2.6.2", "2.6.3"):
    raise ConfigError(
        f"lightning {__version__} carries malware", remedy="Remove it; pip install 'lightning-fabric>=2.6.6'"
    )

__all__ = ["Fabric", "Precision", "children_of", "computes_in_bf16", "open_fabric", "resolve_precision"]

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def open_fabric(*, precision: Precision, device: str = "auto", devices: int = 1, timeout_s: float = 1800.0) -> Fabric:
    """Fabric for a device and a precision, launched.

    Args:
        precision: see `resolve_precision`.
        device: `auto`, `cpu` or `cuda`.
        devices: processes on this machine, one a device. Under `torchrun` its own counts hold instead.
        timeout_s: how long a collective may take.

    Raises:
        ConfigError: there are fewer devices, or the precision is not for the device.
        UnreachableError: the other processes are not found, under the address that the environment names.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision that we asked for
    chosen = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[resolve_precision(precision, device)]
    nodes = 1
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    many = devices * nodes > 1
    if many and os.environ.get("RANK", "0") != "0":
        reach(os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", "29500")))
    subprocess_script._launch_process_observer = children.watch  # see `children` for what it stands in for
    strategy = DDPStrategy(timeout=datetime.timedelta(seconds=timeout_s)) if many else "auto"
    try:
        fabric = Fabric(accelerator=device, devices=devices, num_nodes=nodes, precision=chosen, strategy=strategy)  # pyright: ignore[reportArgumentType]
        fabric.launch()
    except MisconfigurationException as error:
        what = f"{devices} devices are not to be had ({' '.join(str(error).split())})"
        raise ConfigError(what, remedy="Give fewer --devices") from error
    except (DistNetworkError, DistStoreError) as error:
        place = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
        what = f"the other processes are not found at {place} ({' '.join(str(error).split())[:200]})"
        raise UnreachableError(what, remedy="See whether the address is right and its port free") from error
    return fabric


def children_of(fabric: Fabric) -> children.Processes:
    """The processes that this one started for the other ranks; none under a launcher that starts them all."""
    return getattr(fabric.strategy.launcher, "procs", [])


def reach(host: str, port: int, timeout_s: float = 60.0) -> None:
    """Wait until rank 0 listens. torch would wait as long as a collective may take, for an address that is wrong.

    Raises UnreachableError where nobody listens there within the time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with socket.create_connection((host, port), timeout=max(deadline - time.monotonic(), 0.1)):
                return
        except OSError as error:
            if time.monotonic() >= deadline or isinstance(error, socket.gaierror):
                what = f"rank 0 is not found at {host}:{port} ({error.strerror or error})"
                remedy = "See whether the address is right, and whether rank 0 was started"
                raise UnreachableError(what, remedy=remedy) from error
            time.sleep(0.2)


def resolve_precision(precision: Precision, device: str = "auto") -> Literal["fp32", "bf16", "fp16"]:
    """What `auto` means here: bf16 where the hardware multiplies in it, else fp32.

    Raises ConfigError for fp16 on a CPU, which has no arithmetic for it that would be worth the loss of range.
    """
    on_cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    if precision == "fp16" and not on_cuda:
        raise ConfigError("precision fp16 is for CUDA devices", remedy="Use bf16 or fp32")
    if precision != "auto":
        return precision
    return "bf16" if (torch.cuda.is_bf16_supported() if on_cuda else computes_in_bf16()) else "fp32"


def computes_in_bf16() -> bool:
    """Whether this CPU has bf16 arithmetic. Without it torch would compute bf16 slowly, through fp32."""
    facts = Path("/proc/cpuinfo")
    if os.name != "posix" or not facts.exists():
        return False
    flags = facts.read_text(encoding="utf-8", errors="replace")
    return "avx512_bf16" in flags or "amx_bf16" in flags
