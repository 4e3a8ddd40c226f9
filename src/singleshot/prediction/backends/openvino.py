"""Run `.xml` files with their `.bin`, and `.onnx` files, in OpenVINO, on the CPU."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import DataError, InputMissingError, SingleshotError
from singleshot.prediction.backends.backend import KEY, ExportRecord, check_outputs, parse, refuse_fork, refused
from singleshot.prediction.backends.host import default_threads
from singleshot.prediction.backends.onnx import AGAIN, checked_model
from singleshot.prediction.extras import needs_extra
from singleshot.storage.files import file_bytes

MOST_TEXT, MOST_WEIGHTS = 64 << 20, 8 << 30
BIN_SHA256 = "bin_sha256"


class OpenvinoBackend:
    """A model compiled for this CPU.

    Args:
        model: an `openvino.Model`; `open_openvino` reads one from a file.
        record: the record in it.
        output_names: of its outputs, in order.
        bf16: compute in bfloat16 on CPUs that support it. False means float32, which is not OpenVINO's default there.
        threads: of one run; None for `default_threads`.
    """

    def __init__(
        self,
        model: Any,
        record: ExportRecord,
        output_names: tuple[str, ...],
        *,
        bf16: bool = False,
        threads: int | None = None,
    ) -> None:
        import openvino

        self.record, self.output_names = record, output_names
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or default_threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        }
        self._compiled: Any = openvino.Core().compile_model(model, "CPU", settings)
        self._process = os.getpid()
        self._idle: deque[Any] = deque()

    def run(self, images: UInt8[ndarray, "B H W 3"]) -> Mapping[str, Any]:
        """Run the model, see `Backend.run`. Several threads may call it at once: each has its own inference request.

        Raises UsageError in a forked process, in which OpenVINO's threads do not exist.
        """
        refuse_fork(self._process, "OpenVINO")
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        request.infer([np.ascontiguousarray(images)])
        outputs = {name: request.get_output_tensor(i).data.copy() for i, name in enumerate(self.output_names)}
        self._idle.append(request)
        return outputs


def open_openvino(path: Path, *, bf16: bool = False, threads: int | None = None) -> OpenvinoBackend:
    """Open an `.xml` with the `.bin` of the same stem beside it, or an `.onnx`, in OpenVINO.

    Raises:
        DataError: not a file that singleshot exported, or its `.bin` is damaged or of another export.
        InputMissingError: the file or its `.bin` does not exist.
        ConfigError: the extra `openvino` is missing.
    """
    with needs_extra("openvino"):
        import openvino
    core = openvino.Core()
    try:
        if path.suffix.lower() == ".onnx":
            proto, data = checked_model(path)
            texts = {entry.key: entry.value for entry in proto.metadata_props}
            model, record = core.read_model(model=data, weights=b""), parse(texts.get(KEY), path)
        else:
            model, record = _ir(core, path)
        check_outputs([output.get_any_name() for output in model.outputs], record, path)
        return OpenvinoBackend(model, record, record.output_names, bf16=bf16, threads=threads)
    except SingleshotError:
        raise
    except Exception as error:  # its own are RuntimeError and more
        raise refused("OpenVINO", error, path) from error


def openvino_bytes(data: bytes) -> Any:
    """Return bytes as the tensor that OpenVINO reads as a file."""
    import openvino

    return openvino.Tensor(np.frombuffer(data, dtype=np.uint8))


def _ir(core: Any, path: Path) -> tuple[Any, ExportRecord]:
    """Read an `.xml` and its `.bin`. The runtime's parser checks the small graph, the hash checks the weights."""
    text = file_bytes(path, MOST_TEXT)
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise InputMissingError("its weights are not beside it", remedy=f"Copy {weights.name} too", file=path)
    if not text.lstrip().startswith(b"<?xml") or b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise DataError("not an OpenVINO model", kind="damaged-export", remedy=AGAIN, file=path)
    data = file_bytes(weights, MOST_WEIGHTS)
    model = core.read_model(model=text, weights=openvino_bytes(data))
    record = parse(_text(model, KEY), path)
    if _text(model, BIN_SHA256) != hashlib.sha256(data).hexdigest():
        what = f"SHA-256 mismatch: {weights.name} is damaged or another model's"
        raise DataError(what, kind="damaged-export", remedy="Copy both files again", file=path)
    return model, record


def _text(model: Any, name: str) -> str | None:
    """Return a text of a model's metadata, or None."""
    return model.get_rt_info([KEY, name]).astype(str) if model.has_rt_info([KEY, name]) else None
