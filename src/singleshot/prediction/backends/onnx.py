"""`.onnx` files in ONNX Runtime, on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import SingleshotError
from singleshot.prediction.backends.backend import check_outputs, refuse_fork, refused
from singleshot.prediction.backends.onnx_check import INPUT, checked_model
from singleshot.prediction.backends.threads import default_threads
from singleshot.prediction.export_record import KEY, ExportRecord, parse
from singleshot.prediction.extras import needs_extra

ERRORS_ALONE = 3


class OnnxBackend:
    """A model in a session.

    Args:
        data: the bytes of an ONNX model; `open_onnx` looks at those of a file first.
        record: what it says of itself.
        threads: of one run; None for `default_threads`.

    Raises ConfigError where the extra `export` is missing, and what the runtime raises at a model that it cannot run.
    """

    def __init__(self, data: bytes, record: ExportRecord, threads: int | None = None) -> None:
        with needs_extra("export"):
            import onnxruntime
        self.record, self._process = record, os.getpid()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or default_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ALONE
        self._session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.output_names: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())

    def run(self, images: UInt8[ndarray, "B H W 3"]) -> Mapping[str, Any]:
        """Run the model, as `Backend.run`. Raises UsageError in a forked process."""
        refuse_fork(self._process, "ONNX Runtime")
        return dict(zip(self.output_names, self._session.run(self.output_names, {INPUT: images}), strict=True))


def open_onnx(path: Path, threads: int | None = None) -> OnnxBackend:
    """A file in a session, once it was found fit to be run.

    Raises DataError where it is not (`onnx_check`), is none of ours, or the runtime refuses it; ConfigError where the
    extra `export` is missing.
    """
    model, data = checked_model(path)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    record = parse(texts.get(KEY), path)
    try:
        # The bytes that were checked, and not what the path leads to by now.
        backend = OnnxBackend(data, record, threads)
    except SingleshotError:
        raise
    except Exception as error:  # the runtime's errors have no common class
        raise refused("ONNX Runtime", error, path) from error
    check_outputs(backend.output_names, record, path)
    return backend
