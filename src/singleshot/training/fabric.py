"""Device, precision and ranks: Lightning Fabric, opened in one place.

Fabric moves modules, enters autocast and reduces gradients, and nothing more: the loop, the sampler and every save
are our own. Two releases of the parent package carried malware on 2026-04-30 and are refused by number.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Literal

import torch

from singleshot.errors import ConfigError

try:
    from lightning_fabric import Fabric, __version__
except ImportError:  # minimal GPU images have the parent package instead
    from lightning import __version__  # pyright: ignore[reportMissingImports]
    from lightning.fabric import Fabric  # pyright: ignore[reportMissingImports]

if __version__ in ("2.6.2", "2.6.3"):
    raise ConfigError(
        f"lightning {__version__} carries malware", remedy="Remove it; pip install 'lightning-fabric>=2.6.6'"
    )

__all__ = ["Fabric", "computes_in_bf16", "open_fabric", "resolve_precision"]


def open_fabric(*, precision: Literal["auto", "fp32", "bf16"], device: str = "auto", devices: int = 1) -> Fabric:
    """Fabric for a device (`auto`, `cpu`, `cuda`) and a precision, launched."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision that we asked for
    chosen = {"fp32": "32-true", "bf16": "bf16-mixed"}[resolve_precision(precision, device)]
    fabric = Fabric(accelerator=device, devices=devices, precision=chosen)  # pyright: ignore[reportArgumentType]
    fabric.launch()
    return fabric


def resolve_precision(precision: Literal["auto", "fp32", "bf16"], device: str = "auto") -> Literal["fp32", "bf16"]:
    """What `auto` means here: bf16 where the hardware multiplies in it, else fp32."""
    if precision != "auto":
        return precision
    on_cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    return "bf16" if (torch.cuda.is_bf16_supported() if on_cuda else computes_in_bf16()) else "fp32"


def computes_in_bf16() -> bool:
    """Whether this CPU has bf16 arithmetic. Without it torch would compute bf16 slowly, through fp32."""
    facts = Path("/proc/cpuinfo")
    if os.name != "posix" or not facts.exists():
        return False
    flags = facts.read_text(encoding="utf-8", errors="replace")
    return "avx512_bf16" in flags or "amx_bf16" in flags
