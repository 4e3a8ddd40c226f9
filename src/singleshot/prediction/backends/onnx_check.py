"""Whether an ONNX file is what it should be, before a runtime sees it.

The format allows much that an exported detector has no use for and that a stranger could abuse: weights in other
files, named by any path; operators out of libraries that a runtime is told to load; tensors whose stated sizes ask for
more memory than there is. All of it is refused from the parsed message, which runs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from singleshot.errors import DataError
from singleshot.prediction.extras import needs_extra
from singleshot.storage.files import file_bytes

MOST_BYTES = 2 << 30
"""A protobuf message cannot be larger."""
MOST_ELEMENTS = 1 << 30
LEAST_OPSET, NEWEST_OPSET = 18, 26
INPUT = "images"
AGAIN = "Export it again with `singleshot export`"


def checked_model(path: Path) -> tuple[Any, bytes]:
    """The parsed `onnx.ModelProto` and the file's bytes, if it is fit to be run.

    Raises:
        DataError: not ONNX, or one of: external data, foreign operators, absurd sizes, another operator set than
            18 … 26, other inputs than one called `images`.
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
    foreign = sorted({node.domain for node in _nodes(model)} - {"", "ai.onnx"})
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
    """A graph and those within its nodes (bodies of loops and branches)."""
    waiting = [graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


def _nodes(model: Any) -> Iterator[Any]:
    for graph in _graphs(model.graph):
        yield from graph.node


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
