from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import singleshot
from singleshot.errors import ConfigError, UsageError
from tests.exporting import made


def test_without_the_extra_it_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "ncnn", None)
    with pytest.raises(ConfigError, match=r"singleshot\[ncnn\]"):
        made.write_ncnn(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_precisions_and_names_that_ncnn_has_not_are_refused(tmp_path: Path):
    weights = made.write_weights(tmp_path)
    with pytest.raises(UsageError, match="Use fp32, fp16"):
        singleshot.export(weights, format="ncnn", precision="bf16")
    with pytest.raises(UsageError, match=r"ncnn files end in \.ncnn\.param"):
        singleshot.export(weights, format="ncnn", out=tmp_path / "d.param")


@pytest.mark.slow
def test_each_precision_is_proven_and_half_of_it_takes_half_the_room(tmp_path: Path):
    pytest.importorskip("ncnn", reason="needs the extra ncnn")
    pytest.importorskip("pnnx", reason="needs the extra ncnn")
    weights = made.write_weights(tmp_path)
    sizes = {}
    for precision in ("fp32", "fp16"):
        done = singleshot.export(weights, format="ncnn", precision=precision)
        assert done.parity is not None and not done.parity.failures() and done.parity.compared > 100
        sizes[precision] = done.bytes
    assert sizes["fp16"] < 0.6 * sizes["fp32"]
    assert sorted(each.name for each in tmp_path.iterdir() if "fp16" in each.name) == [
        "d-fp16.ncnn.bin",
        "d-fp16.ncnn.json",
        "d-fp16.ncnn.param",
    ]


def test_a_network_that_differs_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("ncnn", reason="needs the extra ncnn")
    pytest.importorskip("pnnx", reason="needs the extra ncnn")
    from singleshot.errors import ParityError
    from singleshot.exporting import ncnn

    other = made.write_ncnn(tmp_path, made.network("letterbox"))
    kept = tmp_path / "kept"
    kept.mkdir()
    parts = [other.with_suffix(suffix) for suffix in (".param", ".bin")]
    data = bytearray(parts[1].read_bytes())
    data[4:20000] = bytes(len(data[4:20000]))
    parts[1].write_bytes(data)

    def broken(_program: object, path: Path, record: object, _inputs: object) -> None:
        for part in parts:
            shutil.copy(part, path.with_suffix(part.suffix))
        ncnn.describe(path, record)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(ncnn, "write", broken)
    weights = made.write_weights(kept)
    with pytest.raises(ParityError):
        singleshot.export(weights, format="ncnn")
    assert [each.name for each in kept.iterdir()] == [weights.name]
