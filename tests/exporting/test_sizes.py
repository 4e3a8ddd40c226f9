from __future__ import annotations

from pathlib import Path

from singleshot.exporting.sizes import checkpoint_of, exports_of, files_of, size_bytes, size_table


def test_an_openvino_model_is_as_large_as_both_its_files(tmp_path: Path):
    (tmp_path / "a.xml").write_bytes(b"x" * 10)
    (tmp_path / "a.bin").write_bytes(b"x" * 90)
    assert size_bytes(tmp_path / "a.xml") == 100 == size_bytes(tmp_path)
    assert size_bytes(tmp_path / "none.onnx") == 0


def test_capitals_in_a_suffix_make_no_other_export(tmp_path: Path):
    for name in ("best.safetensors", "best.XML", "best.bin", "best-int8.ONNX"):
        (tmp_path / name).write_bytes(b"x" * 50)
    assert files_of(tmp_path / "best.XML") == (tmp_path / "best.XML", tmp_path / "best.bin")
    assert size_bytes(tmp_path / "best.XML") == 100
    assert {each.name for each in exports_of(tmp_path / "best.safetensors")} == {"best.XML", "best-int8.ONNX"}


def test_an_ncnn_model_is_as_large_as_its_three_files(tmp_path: Path):
    for name in ("best.safetensors", "best.ncnn.param", "best.ncnn.bin", "best.ncnn.json", "best-fp16.ncnn.param"):
        (tmp_path / name).write_bytes(b"x" * 10)
    assert size_bytes(tmp_path / "best.ncnn.param") == 30
    found = {each.name for each in exports_of(tmp_path / "best.safetensors")}
    assert found == {"best.ncnn.param", "best-fp16.ncnn.param"}


def test_the_table_has_the_checkpoint_the_weights_and_each_export(tmp_path: Path):
    assert checkpoint_of(tmp_path / "best.safetensors") is None
    (tmp_path / "checkpoints" / "step-9").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-9" / "all").write_bytes(b"x" * 4_000_000)
    (tmp_path / "best.safetensors").write_bytes(b"x" * 2_000_000)
    (tmp_path / "best.onnx").write_bytes(b"x" * 1_000_000)
    rows = size_table(tmp_path / "best.safetensors", [tmp_path / "best.onnx"]).splitlines()[1:]
    assert [row.split()[-3:-1] for row in rows] == [["4.00", "200.0%"], ["2.00", "100.0%"], ["1.00", "50.0%"]]


def test_the_table_has_the_other_exports_of_the_weights_too(tmp_path: Path):
    for name in ("best.safetensors", "best.onnx", "best-int8.xml", "best-int8.bin", "bester.onnx", "last.pt2"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    rows = size_table(tmp_path / "best.safetensors", [tmp_path / "best.onnx"]).splitlines()[1:]
    assert [row.split()[-1] for row in rows] == ["best.safetensors", "best.onnx", "best-int8.xml"]
