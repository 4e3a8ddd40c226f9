"""The verbs about weights, through the command line."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from singleshot import classes, hub, weights
from singleshot.cli import terminal
from singleshot.cli.main import app
from singleshot.errors import CannotCreateError, UnreachableError
from singleshot.reporting.report import report
from singleshot.segmentation.fcn import FCN, config_for
from singleshot.storage import download
from tests.foreign.made_files import SSD_PYTORCH, port_state


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("theirs") / "ssd300_mAP_77.43_v2.pth"
    torch.save(port_state(SSD_PYTORCH, 300), path)
    return path


@pytest.fixture(scope="module")
def ours(theirs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ours") / "w.safetensors"
    result = run("weights", "import", "ssd300-voc", "--from", theirs, "--out", path)
    assert result.exit_code == 0 and "states no hash" in result.stderr and str(path) in result.stdout
    return path


def test_info_shows_network_classes_sizes_provenance_and_hash(ours: Path, tmp_path: Path):
    result = run("weights", "info", ours, "--json", tmp_path / "info.json")
    facts = json.loads((tmp_path / "info.json").read_text(encoding="utf-8"))
    assert facts["classes"] == classes.VOC and facts["flavour"] == "vgg300" and facts["input"] == "300x300"
    assert facts["sha256"] == weights.load(ours).sha256 and facts["sha256"] in result.stdout
    assert facts["source"] == "ssd300-voc" and "Pascal VOC" in result.stdout
    assert facts["default boxes"] == 8732 and facts["mean rgb"] == [123.0, 117.0, 104.0]


def test_an_existing_output_is_kept(theirs: Path, ours: Path):
    before = ours.read_bytes()
    with pytest.raises(CannotCreateError):
        run("weights", "import", "ssd300-voc", "--from", theirs, "--out", ours)
    assert ours.read_bytes() == before
    assert run("weights", "import", "ssd300-voc", "--from", theirs, "--out", ours, "--overwrite").exit_code == 0


def test_class_names_come_from_a_file(theirs: Path, tmp_path: Path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"thing {place}" for place in range(20)))
    out = tmp_path / "w.safetensors"
    run("weights", "import", "ssd300-voc", "--from", theirs, "--class-names", names, "--out", out)
    assert weights.load(out).network.config.class_names[19] == "thing 19"


def test_predict_with_a_published_name_and_no_network_exits_with_69(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import cv2
    import numpy as np

    def refused(*_arguments: Any) -> None:
        raise urllib.error.URLError(ConnectionRefusedError("refused"))

    monkeypatch.setenv("SINGLESHOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_open", refused)
    monkeypatch.setattr(download.time, "sleep", lambda _seconds: None)
    cv2.imwrite(str(tmp_path / "street.jpg"), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(UnreachableError) as caught:
        run("predict", "ssd300-coco", tmp_path / "street.jpg")
    assert caught.value.exit_code == 69 and "ssd300_vgg16_coco-b556d3b4.pth" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_push_prints_the_address(ours: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "push", lambda path, name, *, private: f"https://hub/{name}?{path.name}&{private}")
    assert "pushed: https://hub/me/cells?w.safetensors&False" in run("weights", "push", ours, "me/cells").stdout


def test_training_from_weights_prints_the_load_table(ours: Path, tmp_path: Path):
    from singleshot.streets import write

    data = write.make(tmp_path / "data", train=2, val=1, test=1, workers=1)
    options = ["--steps", "1", "--batch-size", "1", "--workers", "0", "--precision", "fp32", "--val-split", "none"]
    options += ["--set", "train_subset=0", "--freeze", "3", "--set", "optimizer.trunk_lr=0.1"]
    result = run("train", "--data", data, "--weights", ours, "--out", tmp_path / "run", *options)
    assert result.exit_code == 0 and "left out" in result.stderr and "known: car" in result.stderr
    file = weights.load(tmp_path / "run" / "last.safetensors")
    assert file.provenance["started_from"]["source"] == "ssd300-voc"
    assert file.network.config.flavour == "vgg300" and file.network.config.clip_anchors == "all"
    shown = run("weights", "info", tmp_path / "run" / "last.safetensors").stdout
    assert f"started from:     {ours}, SHA-256 {weights.read(ours).sha256}" in shown and "its licence:" in shown
    (manifest,) = (tmp_path / "run" / "checkpoints").rglob("manifest.json")
    assert json.loads(manifest.read_text(encoding="utf-8"))["facts"]["started_from"]["licence"]
    page = report(tmp_path / "run").read_text(encoding="utf-8")
    assert "started from" in page and weights.read(ours).sha256 in page and "its licence" in page


def test_info_shows_facts_of_the_file_even_if_its_metadata_claim_others(tmp_path: Path):
    path = tmp_path / "s.safetensors"
    forged = {"sha256": "FORGED", "kind": "detector", "file": "other", "note": "a\x1b[2Jb\nsha256: FORGED"}
    weights.save(path, FCN(config_for("fcn8s-lite", ("road", "sk\x1b[31my"), (64, 96))), forged)
    result = run("weights", "info", path, "--json", tmp_path / "info.json")
    facts = json.loads((tmp_path / "info.json").read_text(encoding="utf-8"))
    assert facts["sha256"] == weights.read_any(path).sha256 and facts["kind"] == "segmenter"
    assert facts["file"] == str(path) and facts["note"] == forged["note"]
    assert "\x1b" not in result.stdout and not [line for line in result.stdout.splitlines() if "FORGED" in line[:20]]


@pytest.mark.parametrize(
    ("verb", "asked"),
    [
        (("train", "--data", "DATA", "--out", "DATA/../run", "--weights", "me/cells"), "load"),
        (("predict", "me/cells", "DATA"), "load"),
        (("predict", "me/cells", "DATA", "--engine", "process", "--out", "DATA/../out"), "bulk.shards"),
        (("serve", "me/cells"), "load"),
    ],
)
def test_every_command_that_downloads_weights_shows_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...], asked: str
):
    def fetch(_name: Path | str, *, observer: download.Observer | None = None) -> Path:
        assert observer is not None
        observer(1_000_000, 2_000_000)
        raise UnreachableError("half way")

    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.jpg").write_bytes(b"")
    monkeypatch.setattr(f"singleshot.prediction.{asked}.find_weights", fetch)
    shown: list[str] = []
    monkeypatch.setattr(terminal.err, "print", lambda text, **_options: shown.append(str(text)))
    with pytest.raises(UnreachableError, match="half way"):
        run(*(part.replace("DATA", str(tmp_path / "data")) for part in verb))
    assert shown == ["fetching me/cells, 2 MB"]
