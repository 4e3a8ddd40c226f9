"""Run `.onnx` files in ONNX Runtime, on the CPU."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.errors import DataError, SingleshotError
from singleshot.prediction.backends.backend import KEY, ExportRecord, check_outputs, parse, refuse_fork, refused
from singleshot.prediction.backends.host import default_threads
from singleshot.prediction.extras import needs_extra
from singleshot.storage.files import file_bytes

ERRORS_ALONE = 3


class OnnxBackend:
    """A model in a session.

    Args:
        data: the bytes of an ONNX model; `open_onnx` checks those of a file first.
        record: the record in it.
        threads: of one run; None for `default_threads`.
        cuda: the number of a CUDA device; None for the CPU. See `providers`.

    Raises ConfigError if the extra `export` is missing, and what the runtime raises for a model that it cannot run.
    """

    def __init__(self, data: bytes, record: ExportRecord, threads: int | None = None, cuda: int | None = None) -> None:
        with needs_extra("export"):
            import onnxruntime
        self.record, self._process = record, os.getpid()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or default_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ALONE
        chosen = providers(onnxruntime.get_available_providers(), cuda)
        self._session: Any = onnxruntime.InferenceSession(data, options, providers=chosen)
        self.output_names: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())
        size = self._session.get_inputs()[0].shape[0]
        self.fixed_batch: int | None = size if isinstance(size, int) else None
        """The number of images that a file exported with a fixed batch takes; None where it takes any number."""

    def run(self, images: UInt8[ndarray, "B H W 3"]) -> Mapping[str, Any]:
        """Run the model, as `Backend.run`. Raises UsageError in a forked process.

        With a fixed batch, images go through in parts of its size; a last part is filled up with black images.
        """
        refuse_fork(self._process, "ONNX Runtime")
        if self.fixed_batch in (None, len(images)):
            return dict(zip(self.output_names, self._session.run(self.output_names, {INPUT: images}), strict=True))
        count = -len(images) % self.fixed_batch
        filled = np.concatenate([images, np.zeros((count, *images.shape[1:]), np.uint8)])
        parts = [
            self._session.run(self.output_names, {INPUT: filled[start : start + self.fixed_batch]})
            for start in range(0, len(filled), self.fixed_batch)
        ]
        joined = [np.concatenate(each)[: len(images)] for each in zip(*parts, strict=True)]
        return dict(zip(self.output_names, joined, strict=True))


def providers(available: Sequence[str], cuda: int | None) -> list[Any]:
    """The execution providers for a session, best first: TensorRT and CUDA if they are there, and the CPU.

    CUDA computes in float32 as every other backend here does, not in TF32, which is its own choice.

    >>> providers(["CUDAExecutionProvider", "CPUExecutionProvider"], None)
    ['CPUExecutionProvider']
    """
    wanted: list[tuple[str, dict[str, str]]] = []
    if cuda is not None:
        wanted = [
            ("TensorrtExecutionProvider", {"device_id": str(cuda)}),
            ("CUDAExecutionProvider", {"device_id": str(cuda), "use_tf32": "0"}),
        ]
    return [*((name, options) for name, options in wanted if name in available), "CPUExecutionProvider"]


def open_onnx(path: Path, threads: int | None = None, cuda: int | None = None) -> OnnxBackend:
    """Check a file and open it in a session.

    Raises DataError where it is not , is none of ours, or the runtime refuses it; ConfigError where the
    extra `export` is missing.
    """
    model, data = checked_model(path)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    record = parse(texts.get(KEY), path)
    try:
        # The bytes that were checked, not the file, which may have changed.
        backend = OnnxBackend(data, record, threads, cuda)
    except SingleshotError:
        raise
    except Exception as error:  # the runtime's errors have no common class
        raise refused("ONNX Runtime", error, path) from error
    check_outputs(backend.output_names, record, path)
    return backend


MOST_BYTES = 2 << 30
"""A protobuf message cannot be larger."""
MOST_ELEMENTS = 1 << 30
LEAST_OPSET, NEWEST_OPSET = 15, 26
INPUT = "images"
AGAIN = "Export it again with `singleshot export`"


def checked_model(path: Path) -> tuple[Any, bytes]:
    """Return the parsed `onnx.ModelProto` and the file's bytes, after all checks.

    Raises:
        DataError: not ONNX, or one of: external data, foreign operators, absurd sizes, another operator set than
            15 … 26, other inputs than one called `images`.
        InputMissingError, NotPermittedError, StorageError: as `files.file_bytes`.
        ConfigError: the package onnx is missing.
    """
    with needs_extra("export"):
        import onnx
        from google.protobuf.message import DecodeError
    data = file_bytes(path, MOST_BYTES)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise _refused("not a readable ONNX file: it may be truncated", path, "damaged-export") from error
    if not model.graph.node:
        raise _refused("not an ONNX model", path, "damaged-export")
    _check_operators(model, path)
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise _refused(f"tensor {tensor.name!r} lies in another file", path, "external-data")
        if min(tensor.dims, default=0) < 0 or math.prod(tensor.dims) > MOST_ELEMENTS:
            raise _refused(f"tensor {tensor.name!r} claims the size {list(tensor.dims)}", path, "absurd-size")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        sizes = [each.dim_value for each in value.type.tensor_type.shape.dim if each.HasField("dim_value")]
        if min(sizes, default=0) < 0 or math.prod(sizes) > MOST_ELEMENTS:
            raise _refused(f"{value.name!r} claims the size {sizes}", path, "absurd-size")
    _check_input(model, path)
    return model, data


def _check_operators(model: Any, path: Path) -> None:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    foreign = sorted({node.domain for graph in _graphs(model.graph) for node in graph.node} - {"", "ai.onnx"})
    if foreign or model.functions:
        name = ", ".join(foreign) or model.functions[0].name
        raise _refused(f"operators that are not ONNX's own ({name})", path, "custom-operator")
    version = versions.get("", versions.get("ai.onnx", 0))
    if not LEAST_OPSET <= version <= NEWEST_OPSET:
        what = f"ONNX operator set {version}; needed is {LEAST_OPSET} to {NEWEST_OPSET}"
        raise _refused(what, path, "other-opset")


def _check_input(model: Any, path: Path) -> None:
    from onnx import TensorProto

    initial = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initial]
    names = [value.name for value in inputs]
    if names != [INPUT]:
        raise _refused(
            f"its inputs are {', '.join(names) or 'none'}; needed is one called {INPUT}", path, "other-input"
        )
    kind = inputs[0].type.tensor_type
    if kind.elem_type != TensorProto.UINT8 or len(kind.shape.dim) != 4:
        raise _refused(f"its input {INPUT} is not uint8 of (B, H, W, 3)", path, "other-input")


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and the graphs in its nodes (bodies of loops and branches)."""
    waiting = [graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


def _tensors(model: Any) -> Iterator[Any]:
    for graph in _graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from attribute.tensors
                if attribute.HasField("t"):
                    yield attribute.t
                for sparse in (
                    *attribute.sparse_tensors,
                    *([attribute.sparse_tensor] * attribute.HasField("sparse_tensor")),
                ):
                    yield from (sparse.values, sparse.indices)


def _refused(what: str, path: Path, kind: str) -> DataError:
    return DataError(what, kind=kind, remedy=AGAIN, file=path)
