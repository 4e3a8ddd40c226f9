"""`.pt2` archives in torch itself, on the CPU or a CUDA device."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import DataError
from singleshot.prediction.backends.backend import refused
from singleshot.prediction.backends.pt2_check import record_text
from singleshot.prediction.export_record import ExportRecord, parse
from singleshot.prediction.extras import quiet


class Pt2Backend:
    """A program as a torch module. torch's own number of threads holds.

    Args:
        program: a `torch.export.ExportedProgram`; `open_pt2` reads one from a file.
        record: what it says of itself.
        output_names: of its outputs, in their order.
        device: where it computes.
    """

    def __init__(
        self, program: Any, record: ExportRecord, output_names: tuple[str, ...], device: torch.device | None = None
    ) -> None:
        self.record, self.output_names = record, output_names
        self._device = device or torch.device("cpu")
        if self._device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, self._device)
        self._module: Any = program.module()

    @torch.inference_mode()
    def run(self, images: UInt8[ndarray, "B H W 3"]) -> Mapping[str, Any]:
        """As `Backend.run`."""
        outputs = self._module(torch.from_numpy(np.ascontiguousarray(images)).to(self._device))
        return {name: each.cpu().numpy() for name, each in zip(self.output_names, outputs, strict=True)}


def open_pt2(path: Path, *, device: torch.device | None = None, trust: bool = False) -> Pt2Backend:
    """An archive in torch, once it was found harmless.

    Args:
        path: the file.
        device: where it is to compute; None for the CPU.
        trust: open it even if it could run code of whoever made it.

    Raises:
        DataError: not an archive of ours, damaged, or one that could run code (`pt2_check`).
        InputMissingError: there is no such file.
    """
    record = parse(record_text(path, trust=trust), path)
    try:
        with warnings.catch_warnings(), quiet("torch.export", "torch._export"):
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
            given, wanted = len(program.graph_signature.user_outputs), len(record.output_names)
            if given == wanted:
                return Pt2Backend(program, record, record.output_names, device)
    except Exception as error:  # whatever torch trips over in a file
        raise refused("torch", error, path) from error
    # They have no names of their own, unlike those of other formats.
    what = f"it has {given} outputs; needed are {wanted}: {', '.join(record.output_names)}"
    raise DataError(what, kind="other-outputs", remedy="Export it again with `singleshot export`", file=path)
