from __future__ import annotations

import json
from pathlib import Path

import pytest

import singleshot
from singleshot.errors import CannotCreateError, ConfigError, ParityError
from singleshot.exporting import coreml
from singleshot.exporting.program import NetworkProgram
from tests.exporting import made


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "coremltools", None)
    with pytest.raises(ConfigError, match=r"singleshot\[coreml\]"):
        coreml.write(NetworkProgram(made.network()), tmp_path / "d.mlpackage", made.record("raw"))


@pytest.mark.slow
def test_each_precision_is_proven_on_the_saved_package(tmp_path: Path):
    pytest.importorskip("coremltools", reason="needs the extra coreml")
    weights = made.write_weights(tmp_path)
    sizes = {}
    for precision in ("fp32", "fp16"):
        done = singleshot.export(weights, format="coreml", precision=precision)
        assert done.parity is not None and not done.parity.failures() and done.parity.compared > 100
        sizes[precision] = done.bytes
    assert sizes["fp16"] < 0.6 * sizes["fp32"]
    package = tmp_path / "d.mlpackage"
    assert sorted(each.name for each in package.iterdir()) == ["Data", "Manifest.json"]
    from singleshot.exporting.coreml_graph import CoremlGraph

    texts = CoremlGraph(package, made.record("raw")).texts
    assert json.loads(texts["class_names"]) == list(made.NAMES)
    assert json.loads(texts["facts"])["input"] == {"name": "image", "shape_hw": list(made.SIZE_HW)}
    with pytest.raises(CannotCreateError, match="--overwrite"):
        singleshot.export(weights, format="coreml")


@pytest.mark.slow
def test_weights_that_are_saved_wrongly_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("coremltools", reason="needs the extra coreml")
    real = coreml.write

    def broken(program: NetworkProgram, path: Path, record: object) -> None:
        real(program, path, record)  # pyright: ignore[reportArgumentType]
        weights = next(path.rglob("weight.bin"))
        data = bytearray(weights.read_bytes())
        data[-9000:-4000] = bytes(5000)
        weights.write_bytes(data)

    monkeypatch.setattr(coreml, "write", broken)
    with pytest.raises(ParityError):
        singleshot.export(made.write_weights(tmp_path), format="coreml")
    assert [each.name for each in tmp_path.iterdir()] == ["d.safetensors"]
