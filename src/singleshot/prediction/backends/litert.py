"""`.tflite` files with their `.json`, in LiteRT (TensorFlow Lite's successor), on the CPU."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from singleshot.errors import DataError
from singleshot.prediction.backends import sidecar
from singleshot.prediction.backends.backend import ExportRecord, refuse_fork, refused
from singleshot.prediction.backends.host import default_threads
from singleshot.prediction.extras import needs_extra
from singleshot.storage.files import file_bytes

MOST_BYTES = 2 << 30
"""A flatbuffer cannot be larger."""
IDENTIFIER = b"TFL3"


class LitertBackend:
    """A network in LiteRT, with the preprocessing of its record before it.

    Args:
        data: the bytes of a `.tflite`.
        record: what the export says of itself.
        threads: of one run; None for `default_threads`.

    Raises ConfigError where the extra `litert` is missing, and what LiteRT raises at a model that it cannot run.
    """

    def __init__(self, data: bytes, record: ExportRecord, threads: int | None = None) -> None:
        with needs_extra("litert"):
            from ai_edge_litert import interpreter  # pyright: ignore[reportMissingImports]
        self.record, self.output_names = record, record.output_names
        self._type: Any = interpreter.Interpreter
        self._data, self._threads, self._process = data, threads or default_threads(), os.getpid()
        self._idle: deque[Any] = deque([self._new()])

    def _new(self) -> Any:
        """An interpreter, which runs one image at a time."""
        made = self._type(model_content=self._data, num_threads=self._threads)
        made.allocate_tensors()
        inputs, outputs = made.get_input_details(), made.get_output_details()
        if [tuple(each["shape"]) for each in inputs] != [(1, *self.record.config.input_size_hw, 3)]:
            raise ValueError("its input is not one image of the record's size")
        if len(outputs) != len(self.output_names):
            raise ValueError(f"it has {len(outputs)} outputs")
        return made

    def run(self, images: UInt8[ndarray, "B H W 3"]) -> Mapping[str, Any]:
        """Run the network as `Backend.run`; images of another size than the input's are brought to it first.

        Raises UsageError in a forked process, and DataError where a kernel refuses its numbers.
        """
        refuse_fork(self._process, "LiteRT")
        batch = sidecar.input_of(list(images), self.record.config.preprocess).permute(0, 2, 3, 1).contiguous().numpy()
        try:
            interpreter = self._idle.pop()
        except IndexError:
            interpreter = self._new()
        (into,), outputs = interpreter.get_input_details(), interpreter.get_output_details()
        rows = []
        for image in batch:
            interpreter.set_tensor(into["index"], quantised(image, into)[None])
            try:
                interpreter.invoke()
            except RuntimeError as error:  # a kernel that refuses its numbers, such as a divisor of 0 in 8 bits
                message = f"LiteRT cannot run it ({' '.join(str(error).split())[:200]})"
                remedy = "Export it in another precision"
                raise DataError(message, kind="damaged-export", remedy=remedy) from error
            rows.append([restored(interpreter.get_tensor(each["index"])[0], each) for each in outputs])
        self._idle.append(interpreter)
        return {name: np.stack(each) for name, each in zip(self.output_names, zip(*rows, strict=True), strict=True)}


def quantised(values: Float[ndarray, "..."], detail: Mapping[str, Any]) -> ndarray:
    """Floats as a tensor wants them: as they are, or as 8-bit integers by its scale."""
    scale, zero = detail["quantization"]
    if not scale:
        return values
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(detail["dtype"])


def restored(values: ndarray, detail: Mapping[str, Any]) -> Float[ndarray, "..."]:
    """Floats of what a tensor gave."""
    scale, zero = detail["quantization"]
    return ((values.astype(np.float32) - np.float32(zero)) * np.float32(scale)) if scale else values.copy()


def open_litert(path: Path, threads: int | None = None) -> LitertBackend:
    """A `.tflite` with its `.json` beside it.

    Raises:
        DataError: not an export of singleshot, or damaged.
        InputMissingError: one of the two files is not there.
        ConfigError: the extra `litert` is missing.
    """
    data = file_bytes(path, MOST_BYTES)
    record, _ = sidecar.read(path.with_suffix(sidecar.SUFFIX), {".tflite": path})
    if data[4:8] != IDENTIFIER:
        raise DataError("not a TFLite model", kind="damaged-export", remedy=sidecar.AGAIN, file=path)
    try:
        return LitertBackend(data, record, threads)
    except (ValueError, RuntimeError) as error:
        raise refused("LiteRT", error, path) from error
