from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import singleshot
from singleshot.cli.main import app
from singleshot.errors import CannotCreateError, DataError, UsageError
from tests.exporting import made


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


def test_contradictions_and_existing_files_are_refused_first(tmp_path: Path):
    weights = made.write_weights(tmp_path)
    with pytest.raises(UsageError, match="contradict"):
        run("export", weights, "--format", "onnx", "--int8", "--precision", "fp16")
    (tmp_path / "d.onnx").write_bytes(b"mine")
    with pytest.raises(CannotCreateError, match="--overwrite"):
        run("export", weights, "--format", "onnx")
    with pytest.raises(UsageError, match="itself an input"):
        run("export", weights, "--format", "onnx", "--out", weights)
    assert (tmp_path / "d.onnx").read_bytes() == b"mine"


def test_j5_json_never_replaces_the_export(tmp_path: Path):
    weights = made.write_weights(tmp_path)
    for file_format, out, json_file in (
        ("onnx", None, "d.onnx"),
        ("onnx", "x.onnx", "x.onnx"),
        ("openvino", None, "d.xml"),
        ("openvino", "x.xml", "x.bin"),
    ):
        where = ("--out", tmp_path / out) if out else ()
        with pytest.raises(UsageError, match="twice"):
            run("export", weights, "--format", file_format, *where, "--json", tmp_path / json_file, "--overwrite")
    assert [each.name for each in tmp_path.iterdir()] == ["d.safetensors"]


def test_check_images_and_no_check_contradict_each_other(tmp_path: Path):
    weights = made.write_weights(tmp_path)
    with pytest.raises(UsageError, match="--check-pictures and --no-check"):
        run("export", weights, "--format", "onnx", "--check-pictures", tmp_path, "--no-check")


@pytest.mark.slow
def test_export_prints_parity_and_sizes_and_other_commands_open_the_file(tmp_path: Path, shared: Path):
    weights, out = made.write_weights(tmp_path), tmp_path / "made.pt2"
    photos = shared / "data" / "photos"
    result = run(
        "export", weights, "--format", "pt2", "--out", out, "--json", tmp_path / "e.json", "--check-pictures", photos
    )
    assert result.exit_code == 0 and "parity on 11 images" in result.output and "weights" in result.output
    facts = json.loads((tmp_path / "e.json").read_text())
    assert facts["path"] == str(out) and facts["parity"]["box_px"] < 0.5 and facts["bytes"] == out.stat().st_size
    result = run("predict", out, photos / "road1.jpg", "--json", tmp_path / "p.json", "--threshold", "0.1")
    assert result.exit_code == 0 and json.loads((tmp_path / "p.json").read_text())["pictures"][0]["detections"]


def test_an_export_with_another_opset_is_compared_with_the_model_too(tmp_path: Path):
    weights = made.write_weights(tmp_path)
    result = run("export", weights, "--format", "onnx", "--opset", "17")
    assert result.exit_code == 0 and "export:" in result.output
    with pytest.raises(UsageError, match="--opset with --format onnx"):
        run("export", weights, "--format", "pt2", "--opset", "17")


def test_an_export_with_a_fixed_batch_gives_the_same_detections(tmp_path: Path):
    weights = made.write_weights(tmp_path)
    result = run("export", weights, "--format", "onnx", "--fixed-batch", "2")
    assert result.exit_code == 0 and re.search(r"the same in both +100\.00%", result.output)
    with pytest.raises(UsageError, match="--fixed-batch 1 --format onnx"):
        run("export", weights, "--format", "pt2", "--fixed-batch", "2")
    with pytest.raises(UsageError, match="--compile with --format pt2"):
        run("export", weights, "--format", "onnx", "--compile")


@pytest.mark.skipif(not os.environ.get("SINGLESHOT_LONG"), reason="compiles for a minute: make test-long runs it")
def test_a_compiled_archive_is_compared_with_the_model_and_opened_only_with_trust(tmp_path: Path):
    weights, photo = made.write_weights(tmp_path), made.pictures(1)[0]
    result = run("export", weights, "--format", "pt2", "--compile", "--json", tmp_path / "e.json")
    target = tmp_path / "d-compiled.pt2"
    assert result.exit_code == 0 and json.loads((tmp_path / "e.json").read_text())["path"] == str(target)
    assert "--trust" in result.output and "the same in both" in result.output
    with pytest.raises(DataError, match="carries data/aotinductor/") as caught:
        singleshot.load(target)
    assert "--trust" in str(caught.value)
    found, wanted = singleshot.load(target, trust=True).predict(photo), made.detector().predict(photo)
    assert isinstance(found, singleshot.Detections) and isinstance(wanted, singleshot.Detections)
    assert len(found) == len(wanted) > 0
    np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=0.5)
    with zipfile.ZipFile(target) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".cpp")]


def test_an_openvino_export_says_the_setting_that_its_comparison_holds_for(tmp_path: Path):
    weights = made.write_weights(tmp_path)
    result = run("export", weights, "--format", "openvino")
    said = " ".join(result.output.split())
    assert result.exit_code == 0 and '{"INFERENCE_PRECISION_HINT": "f32"}' in said and "bfloat16" in said
    assert "INFERENCE_PRECISION_HINT" not in run("export", weights, "--format", "onnx", "--no-check").output
    page = (Path(__file__).parents[2] / "docs/how-to/export.md").read_text(encoding="utf-8")
    assert '{"INFERENCE_PRECISION_HINT": "f32"}' in page
