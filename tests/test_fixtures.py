"""Files that older versions wrote are read for ever: one folder a schema; see tests/fixtures/README.md."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from singleshot import weights
from singleshot.training import checkpoint
from singleshot.training.optimizer import EMA, OptimizerConfig, build
from singleshot.training.recipe import Recipe
from singleshot.training.run import train
from singleshot.training.state import restore
from singleshot.weights import BackboneFile
from tests.fixtures.make_v1 import small_network
from tests.training.conftest import draw_squares

FOLDER = Path(__file__).parent / "fixtures"
V1 = FOLDER / "v1"


def test_e6_a_weights_file_of_the_first_schema_is_read() -> None:
    file = weights.read(V1 / "trunk.safetensors")
    assert isinstance(file, BackboneFile) and file.config.trunk == "vgg16"
    assert file.provenance == {"source": "made by hand", "version": "0.1.0"}
    assert torch.equal(file.tensors["trunk.vgg.conv1_1.bias"], torch.arange(64) / 8)


def test_e6_a_checkpoint_of_the_first_schema_is_read_and_goes_on(tmp_path: Path) -> None:
    shutil.copytree(V1, tmp_path / "checkpoints")
    found = checkpoint.newest(tmp_path / "checkpoints", lambda error: pytest.fail(str(error)))
    assert found is not None and found.step == 2 and found.facts["log"] == [{"epoch": 1}]
    network = small_network()
    optimizer, mean = build(network, OptimizerConfig(kind="adamw")), EMA(network, 0.5)
    progress = restore(found, network, optimizer, mean)
    assert (progress.step, progress.position, progress.images, mean.updates) == (2, 2, 4, 2)
    assert torch.equal(network.state_dict()["0.weight"], found.tensors["network/0.weight"])
    assert float(optimizer.state_dict()["state"][0]["step"]) == 2


def test_e6_e7_a_run_of_the_first_schema_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with zipfile.ZipFile(V1 / "run.zip") as archive:
        archive.extractall(out)
    recipe = Recipe.from_json((out / "recipe.json").read_text())
    run = train(draw_squares(tmp_path / "squares"), recipe, out=out, val_split=None, resume=True)
    assert run.steps == 2 and [row.split(",")[1] for row in (out / "log.csv").read_text().splitlines()] == ["step", "2"]


def test_the_fixtures_are_what_they_were() -> None:
    known = (FOLDER / "SHA256").read_text().splitlines()
    there = sorted(path for path in V1.rglob("*") if path.is_file())
    assert known == [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(FOLDER).as_posix()}" for path in there
    ]
