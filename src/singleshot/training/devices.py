"""Device, precision and processes: Lightning Fabric, opened in one place, and what happens when memory runs out.

Fabric moves modules, enters autocast and reduces gradients, and nothing more: the loop, the sampler and every save
are our own. Two releases of the parent package carried malware on 2026-04-30 and are refused by number.

With `--devices N` Fabric starts N − 1 more processes. Lightning's own watcher answers the failure of one with SIGKILL
to all, this process too, so that nobody could report what happened. It is replaced here: a process that fails reports
why, the others report which rank was lost (`ranks.Heartbeat`), and processes that are still running after that are
killed.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import cv2
import torch
from torch.distributed import DistNetworkError, DistStoreError

from singleshot.errors import ConfigError, StoppedError, UnreachableError
from singleshot.prediction.backends.arithmetic import search_algorithms, use_exact_fp32

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

__all__ = ["Fabric", "Precision", "child_processes", "computes_in_bf16", "open_fabric", "resolve_precision"]

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def open_fabric(*, precision: Precision, device: str = "auto", devices: int = 1, timeout_s: float = 1800.0) -> Fabric:
    """Launch Fabric for a device and a precision; float32 is then float32, see `arithmetic`.

    Args:
        precision: see `resolve_precision`.
        device: `auto`, `cpu` or `cuda`.
        devices: processes on this machine, one per device. Under `torchrun` its own counts apply instead.
        timeout_s: of a collective.

    Raises:
        ConfigError: there are fewer devices, or the device does not support the precision.
        UnreachableError: the other processes do not answer at the address that the environment names.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it prints the precision that we asked for
    use_exact_fp32()
    search_algorithms()
    chosen = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[resolve_precision(precision, device)]
    nodes = 1
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    many = devices * nodes > 1
    if many and os.environ.get("RANK", "0") != "0":
        reach(os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", "29500")))
    subprocess_script._launch_process_observer = watch_processes
    strategy = DDPStrategy(timeout=datetime.timedelta(seconds=timeout_s)) if many else "auto"
    try:
        fabric = Fabric(accelerator=device, devices=devices, num_nodes=nodes, precision=chosen, strategy=strategy)  # pyright: ignore[reportArgumentType]
        fabric.launch()
    except MisconfigurationException as error:
        available = torch.cuda.device_count() if device != "cpu" and torch.cuda.is_available() else 1
        reason = " ".join(str(error).split())
        message = f"{devices} devices requested, {available} available ({reason})"
        raise ConfigError(message, remedy="Give fewer --devices") from error
    except (DistNetworkError, DistStoreError) as error:
        address = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
        message = f"the other processes do not answer at {address} ({' '.join(str(error).split())[:200]})"
        raise UnreachableError(message, remedy="Check that the address is right and its port free") from error
    return fabric


def child_processes(fabric: Fabric) -> Processes:
    """Return the processes that this one started for the other ranks; none under torchrun."""
    return getattr(fabric.strategy.launcher, "procs", [])


def reach(host: str, port: int, timeout_s: float = 60.0) -> None:
    """Wait until rank 0 listens. torch would wait for half an hour at a wrong address.

    Raises UnreachableError if nothing listens there within the time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with socket.create_connection((host, port), timeout=max(deadline - time.monotonic(), 0.1)):
                return
        except OSError as error:
            if time.monotonic() >= deadline or isinstance(error, socket.gaierror):
                message = f"rank 0 does not answer at {host}:{port} ({error.strerror or error})"
                remedy = "Check that the address is right, and that rank 0 was started"
                raise UnreachableError(message, remedy=remedy) from error
            time.sleep(0.2)


def resolve_precision(precision: Precision, device: str = "auto") -> Literal["fp32", "bf16", "fp16"]:
    """Return what `auto` means here: bf16 if the hardware multiplies in it, else fp32.

    Raises ConfigError for fp16 on a CPU, which has no fast arithmetic for it.
    """
    on_cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    if precision == "fp16" and not on_cuda:
        raise ConfigError("precision fp16 is for CUDA devices", remedy="Use bf16 or fp32")
    if precision != "auto":
        return precision
    # Emulated bf16, as on a T4 or V100, is slower than fp32.
    fits = torch.cuda.is_bf16_supported(including_emulation=False) if on_cuda else computes_in_bf16()
    return "bf16" if fits else "fp32"


def computes_in_bf16() -> bool:
    """Return whether this CPU has bf16 arithmetic. Without it torch would compute bf16 slowly, through fp32."""
    facts = Path("/proc/cpuinfo")
    if os.name != "posix" or not facts.exists():
        return False
    flags = facts.read_text(encoding="utf-8", errors="replace")
    return "avx512_bf16" in flags or "amx_bf16" in flags


POLL_S = 0.5
GRACE_S = 20.0
"""For the others to end by themselves once one has failed. Longer than a heartbeat needs to name a lost rank."""

Processes = Sequence["subprocess.Popen[Any]"]
"""Rank 1 and its followers, in order."""


def watch_processes(processes: Processes, grace_s: float = GRACE_S) -> None:
    """End this process some time after one of its children failed, and the children with this process."""
    ending = threading.Event()
    threading.Thread(target=_watch, args=(processes, ending, grace_s), name="children", daemon=True).start()
    atexit.register(_end, processes, ending, grace_s)


def kill_processes(processes: Processes) -> None:
    """Kill all of them now, stopped ones too."""
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()


def _watch(processes: Processes, ending: threading.Event, grace_s: float) -> None:
    failed = None
    while failed is None:
        if ending.wait(POLL_S):
            return
        codes = [process.poll() for process in processes]
        failed = next((rank for rank, code in enumerate(codes, start=1) if code), None)
        if not any(code is None for code in codes) and failed is None:
            return
    if not ending.wait(grace_s):
        code = processes[failed - 1].returncode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        sys.stderr.write(f"singleshot: error: rank {failed} {how}. Start again with --resume.\n")
        sys.stderr.flush()
        kill_processes(processes)
        os._exit(StoppedError.exit_code)


def _end(processes: Processes, ending: threading.Event, grace_s: float) -> None:
    ending.set()
    deadline = time.monotonic() + grace_s
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0.0))
    kill_processes(processes)


_MEMORY_MESSAGES = ("can't allocate memory", "out of memory", "insufficient memory", "cannot allocate memory")


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn running out of memory inside into a StoppedError that says what to lower; other errors pass.

    torch reports it as a RuntimeError of the CPU's allocator or as its own error of a device, NumPy and Python as a
    MemoryError, OpenCV as an error of its own.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError, cv2.error) as error:
        if not is_out_of_memory(error):
            raise
        on_device = isinstance(error, torch.OutOfMemoryError)
        message = f"out of {'device ' if on_device else ''}memory ({' '.join(str(error).split())[:120]})"
        remedy = "Set accumulate=2, or lower --batch-size or --workers, and continue with --resume --force"
        raise StoppedError(message, remedy=remedy) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes do not match"))
    (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError | cv2.error) and any(
        sign in str(error).lower() for sign in _MEMORY_MESSAGES
    )
