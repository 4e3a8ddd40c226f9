"""`singleshot.load`: find a model's file, then open it in the runtime that it was made for.

Names of published weights and repositories on the hub are found too. A file that exists is never passed over for
something on the network.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar, get_args

import torch

from singleshot import hub, weights
from singleshot.errors import DataError, InputMissingError, UsageError, nearest, visible
from singleshot.prediction.backends.arithmetic import use_exact_fp32
from singleshot.prediction.exported import exported_predictor
from singleshot.prediction.predictor import Detector, Segmenter, predictor_of
from singleshot.starts import shipped
from singleshot.storage.download import Observer
from singleshot.weights import BackboneFile

BackendName = Literal["torch", "pt2", "onnx", "openvino", "ncnn", "litert"]
RUNS: dict[str, tuple[BackendName, ...]] = {
    ".pt2": ("pt2",),
    ".onnx": ("onnx", "openvino"),
    ".xml": ("openvino",),
    ".param": ("ncnn",),
    ".tflite": ("litert",),
}
"""Backends that run a file of each suffix, the default first; all other files are weights, which torch runs."""
WEIGHTS_IN_A_RUN = ("best.safetensors", "train/best.safetensors")
"""Where a training run and a demo leave weights. Only suggested: a user must name one."""
METRICS = {"detection": "voc07, voc12 or coco", "segmentation": "miou"}
Model = TypeVar("Model", Detector, Segmenter)


def load(
    path: str | Path,
    *,
    device: str = "auto",
    bf16: bool = False,
    backend: str | None = None,
    threads: int | None = None,
    trust: bool = False,
    fold: bool = False,
    observer: Observer | None = None,
) -> Detector | Segmenter:
    """Open a detector or a segmenter from a weights file or an exported one.

    Args:
        path: a `.safetensors` file that singleshot wrote; `everyday`, the detector that comes with the package; the
            name of published weights; `owner/name` on the hub (`find_weights`); or an export: `.pt2`, `.onnx`, `.xml`
            with its `.bin` beside it, `.ncnn.param` with its `.ncnn.bin` and `.ncnn.json`, or `.tflite` with
            its `.json`.
        device: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto` for CUDA if there is one, else the CPU. ONNX Runtime
            runs on a CUDA device if `onnxruntime-gpu` is installed; OpenVINO, ncnn and LiteRT run on the CPU.
        bf16: compute in bfloat16: about twice as fast on hardware that has it, scores differ in the third digit.
            For weights and in OpenVINO; a `.pt2` or `.onnx` computes in the precision it was exported with.
        backend: `torch`, `pt2`, `onnx`, `openvino`, `ncnn` or `litert`: the runtime that opens the file; see `RUNS`.
        threads: of ONNX Runtime, OpenVINO, ncnn and LiteRT; None for one per physical core (`host.default_threads`).
        trust: open a `.pt2` even if it could run code of whoever made it.
        fold: run weights with batch normalisation folded into the convolutions (`Predictor.fold`): faster on a CPU,
            and scores differ in their last digits, as they do in exports. `predict` on the command line does.
        observer: receives the progress of a download.

    Raises:
        InputMissingError, DataError, NotPermittedError: as `weights.read_any` and the backends; DataError for a
            backbone alone too.
        UsageError: the backend does not run such files or not on that device, or there is no such device.
        ConfigError: the backend's packages are not installed.
    """
    where = device_of(device)
    if not isinstance(path, str | os.PathLike):
        remedy = "Give a path, a known name, or owner/name on the hub"
        raise UsageError(f"{type(path).__name__} is not a weights file", remedy=remedy)
    file = find_weights(path, observer=observer)
    chosen = _backend(file, backend)
    if chosen == "torch":
        return _from_weights(file, where, bf16, fold)
    if chosen != "pt2" and device != "auto" and where.type != "cpu":
        remedy = "Use --device cpu, or the weights that the file was made from"
        raise UsageError(f"{chosen} runs on the CPU and not on {device}", remedy=remedy, file=path)
    if chosen == "pt2":
        from singleshot.prediction.backends.pt2 import open_pt2

        return exported_predictor(open_pt2(file, device=where, trust=trust), where)
    if chosen == "onnx":
        from singleshot.prediction.backends.onnx import open_onnx

        cuda = (where.index or 0) if where.type == "cuda" else None
        return exported_predictor(open_onnx(file, threads=threads, cuda=cuda))
    if chosen == "ncnn":
        from singleshot.prediction.backends.ncnn import open_ncnn

        return exported_predictor(open_ncnn(file, threads=threads))
    if chosen == "litert":
        from singleshot.prediction.backends.litert import open_litert

        return exported_predictor(open_litert(file, threads=threads))
    from singleshot.prediction.backends.openvino import open_openvino

    return exported_predictor(open_openvino(file, bf16=bf16, threads=threads))


def device_of(name: str) -> torch.device:
    """Return the device of a name: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`. `auto` never takes MPS, which is untested.

    From then on float32 is float32 there, see `backends.arithmetic`.

    Raises UsageError for a device that does not exist here.
    """
    use_exact_fp32()
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if cuda else "cpu")
    mps = torch.backends.mps.is_available()
    remedy = f"Use auto, cpu{', cuda' if cuda else ''}{', mps' if mps else ''}"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise UsageError(f"no device is called {visible(repr(name))}", remedy=remedy) from None
    counts = {"cpu": 1, "cuda": cuda, "mps": int(mps)}
    if (device.index or 0) >= counts.get(device.type, 0):
        raise UsageError(f"there is no device {name} here, or torch was built without it", remedy=remedy)
    return device


def load_detector(
    path: str | Path, *, device: str = "auto", bf16: bool = False, backend: str | None = None, trust: bool = False
) -> Detector:
    """Open a file as `load` does. Raises DataError where it holds a segmenter."""
    return _of_kind(Detector, load(path, device=device, bf16=bf16, backend=backend, trust=trust), path)


def load_segmenter(
    path: str | Path, *, device: str = "auto", bf16: bool = False, backend: str | None = None, trust: bool = False
) -> Segmenter:
    """Open a file as `load` does. Raises DataError where it holds a detector."""
    return _of_kind(Segmenter, load(path, device=device, bf16=bf16, backend=backend, trust=trust), path)


def _of_kind(kind: type[Model], model: Detector | Segmenter, path: str | Path) -> Model:
    if isinstance(model, kind):
        return model
    what = {"detection": "a detector, not a segmenter", "segmentation": "a segmenter, not a detector"}[model.task]
    raise DataError(what, kind="other-task", remedy=f"Use --metric {METRICS[model.task]}", file=path)


def find_weights(name: str | Path, *, observer: Observer | None = None) -> Path:
    """Return the weights file on this machine, after fetching it into a cache if need be.

    Args:
        name: a path; a folder with `model.safetensors`; `everyday`, which comes with the package; a name of
            `weights import`; `owner/name` on the hub.
        observer: receives the progress of a download; of one from the hub, that it begins.

    Raises:
        InputMissingError: it is none of these, or a folder without `model.safetensors`, such as a run's.
        UnreachableError: it must be fetched, and there is no network.
        DataError: the fetched file is not the published one.
    """
    from singleshot.foreign import sources

    path, text = Path(name), str(name)
    if (path / hub.WEIGHTS).is_file():
        return path / hub.WEIGHTS
    if path.is_dir():
        in_run = next((path / each for each in WEIGHTS_IN_A_RUN if (path / each).is_file()), None)
        remedy = f"Did you mean {in_run}?" if in_run else "Name the file itself"
        raise InputMissingError(f"a folder without {hub.WEIGHTS}", remedy=remedy, file=path)
    if path.exists():
        return path
    packaged = shipped.find(text)
    if packaged is not None:
        return packaged
    if sources.find(text) is not None:
        from singleshot.foreign.importing import cached

        return cached(text, observer=observer)
    if hub.is_repository_id(text):
        if observer is not None:
            observer(0, None)  # the hub's client shows the progress itself
        return hub.fetch(text)
    near = nearest(text, known_names())
    remedy = f"Did you mean {near}?" if near else "Check the path, or see `singleshot weights import --help`"
    raise InputMissingError("no such weights file", remedy=remedy, file=path)


def known_names() -> list[str]:
    """Return the names that weights may be given by: those that come with the package, then the published ones."""
    from singleshot.foreign import sources

    return [*shipped.FILES, *(name for row in sources.SOURCES for name in (row.name, *row.aliases))]


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


def _from_weights(path: Path, where: torch.device, bf16: bool, fold: bool) -> Detector | Segmenter:
    file = weights.read_any(path)
    if isinstance(file, BackboneFile):
        what = f"a {file.config.trunk} backbone, not a detector or segmenter"
        remedy = "Train one from it: singleshot train --weights"
        raise DataError(what, kind="trunk-weights", remedy=remedy, file=path)
    network = file.network.to(where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return replace(predictor_of(network, file.provenance, where, bf16=bf16), fold=fold)
