"""`singleshot.load`: a file opened as what it is, a detector or a segmenter, in the runtime that it was made for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch

from singleshot import weights
from singleshot.errors import DataError, UsageError
from singleshot.prediction.exported import opened
from singleshot.prediction.locate import find_weights
from singleshot.prediction.predictor import Detector
from singleshot.prediction.segmenter import Segmenter
from singleshot.storage.download import Observer
from singleshot.weights import BackboneFile, SegmenterFile

BackendName = Literal["torch", "pt2", "onnx", "openvino"]
RUNS: dict[str, tuple[BackendName, ...]] = {".pt2": ("pt2",), ".onnx": ("onnx", "openvino"), ".xml": ("openvino",)}
"""What runs a file of each suffix, the first unless told otherwise; all other files are weights, which torch runs."""


def load(
    path: str | Path,
    *,
    device: str = "auto",
    bf16: bool = False,
    backend: str | None = None,
    threads: int | None = None,
    trust: bool = False,
    observer: Observer | None = None,
) -> Detector | Segmenter:
    """A detector or a segmenter from a weights file or an exported one.

    Args:
        path: a `.safetensors` file that singleshot wrote, the name of published weights, or `owner/name` on the hub
            (`locate.find_weights`); or an export: `.pt2`, `.onnx`, or `.xml` with its `.bin` beside it.
        device: `auto` takes a CUDA device where there is one; ONNX Runtime and OpenVINO run on the CPU here.
        bf16: compute in bfloat16: about twice as fast where the hardware has it, scores differ in the third digit.
            With weights and in OpenVINO; a `.pt2` or `.onnx` computes in what it was exported with.
        backend: `torch`, `pt2`, `onnx` or `openvino`, to say which runtime is to open the file; see `RUNS`.
        threads: of ONNX Runtime and OpenVINO; None for one a physical core (`threads.default_threads`).
        trust: open a `.pt2` even if it could run code of whoever made it.
        observer: is told how a download goes on.

    Raises:
        InputMissingError, DataError, NotPermittedError: as `weights.read_any` and the backends; DataError for a trunk
            alone too.
        UsageError: the backend does not run such files.
        ConfigError: the backend's packages are not installed.
    """
    found = find_weights(path, observer=observer)
    chosen = _backend(found, backend)
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if chosen == "torch":
        return _from_weights(found, where, bf16)
    if chosen == "pt2":
        from singleshot.prediction.backends.pt2 import open_pt2

        return opened(open_pt2(found, device=where, trust=trust), where)
    if chosen == "onnx":
        from singleshot.prediction.backends.onnx import open_onnx

        return opened(open_onnx(found, threads=threads))
    from singleshot.prediction.backends.openvino import open_openvino

    return opened(open_openvino(found, bf16=bf16, threads=threads))


def load_detector(path: str | Path, *, backend: str | None = None, trust: bool = False) -> Detector:
    """`load` for a file that must hold a detector. Raises DataError where it holds a segmenter."""
    model = load(path, backend=backend, trust=trust)
    if isinstance(model, Detector):
        return model
    raise DataError("a segmenter, not a detector", kind="other-task", remedy="Use --metric miou", file=path)


def load_segmenter(
    path: str | Path,
    *,
    device: str = "auto",
    bf16: bool = False,
    backend: str | None = None,
    trust: bool = False,
) -> Segmenter:
    """`load` for a file that must hold a segmenter. Raises DataError where it holds a detector."""
    model = load(path, device=device, bf16=bf16, backend=backend, trust=trust)
    if isinstance(model, Segmenter):
        return model
    what = "a detector and no segmenter"
    raise DataError(what, kind="other-task", remedy="Use --metric voc07, voc12 or coco", file=path)


def _backend(path: Path, wanted: str | None) -> BackendName:
    able = RUNS.get(path.suffix.lower(), ("torch",))
    for name in get_args(BackendName):
        if name == wanted and name in able:
            return name
    if wanted is None:
        return able[0]
    if wanted not in get_args(BackendName):
        raise UsageError(f"no backend is called {wanted!r}", remedy=f"Use {', '.join(get_args(BackendName))}")
    remedy = f"Leave --backend out, or make such a file: singleshot export --format {wanted}"
    if wanted == "torch":
        remedy = "Leave --backend out, or name the weights file"
    raise UsageError(f"{wanted} does not run such a file; {' or '.join(able)} does", remedy=remedy, file=path)


def _from_weights(path: Path, where: torch.device, bf16: bool) -> Detector | Segmenter:
    file = weights.read_any(path)
    if isinstance(file, BackboneFile):
        what = f"a {file.config.trunk} backbone, not a detector or segmenter"
        remedy = "Train one from it: singleshot train --weights"
        raise DataError(what, kind="trunk-weights", remedy=remedy, file=path)
    if isinstance(file, SegmenterFile):
        segmenter = file.network.to(where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return Segmenter(segmenter, file.provenance, where, bf16)
    network = file.network.to(where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return Detector(network, file.provenance, where, bf16)
