"""Weights & Biases and MLflow are tried where their extras are installed; `make test-long` installs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from singleshot.errors import ConfigError, UsageError
from singleshot.structures import Dataset, LabelMap
from singleshot.training.callbacks import End
from singleshot.training.trackers import (
    MlflowLog,
    WandbLog,
    check_available,
    has_wandb_key,
    open_logs,
    parse_logs,
)

ROWS = [
    {"epoch": 1, "step": 20, "train_class": 2.0, "val_map": 0.25, "val_ap_car": None, "lr": 0.1},
    {"epoch": 2, "step": 40, "train_class": 1.0, "val_map": 0.5, "val_ap_car": 0.75, "lr": 0.05},
]
RECIPE = json.dumps({"model": "lite320-fine", "seed": 3, "augmentation": {"samplers": list(range(400))}})


@pytest.mark.parametrize("text", ["tensorbord", "wandb,,mlflow", "mlflow,comet"])
def test_an_unknown_log_is_refused_with_the_nearest(text: str) -> None:
    with pytest.raises(UsageError, match="no log") as raised:
        parse_logs(text)
    assert "Did you mean tensorboard?" in str(raised.value) or "There are tensorboard, wandb, mlflow" in str(
        raised.value
    )


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_named_with_its_extra_before_anything_begins(
    name: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError) as raised:
        check_available([name])
    assert str(raised.value) == f"{name} is not installed. pip install 'singleshot[{name}]'."


@dataclass
class Recorder:
    """Stands for both packages: notes what is called, or fails."""

    fails: bool = False
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        if self.fails:
            raise ConnectionError("no route\nto host")
        return lambda *given, **named: self.calls.append((name, named or given))


@pytest.mark.parametrize("kind", [WandbLog, MlflowLog])
def test_a_tracker_that_fails_ends_alone_and_is_reported_once(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Recorder(fails=True)
    for name in ("_wandb", "_mlflow_client"):
        monkeypatch.setattr(f"singleshot.training.trackers.{name}", lambda: lambda *_: package)
    said: list[str] = []
    log = kind(tmp_path, RECIPE, said.append)
    monkeypatch.setattr(log, "_open_writer", lambda: package)
    for row in ROWS:
        log.on_epoch(row)
    log.on_end(End(tmp_path))
    assert len(said) == 1 and "no route to host" in said[0] and "goes on without it" in said[0]


def test_a_key_is_found_where_wandb_login_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(file))
    assert not has_wandb_key(), "there is no file"
    file.write_text("machine other.host login user password secret\n")
    assert not has_wandb_key()
    file.write_text("machine api.wandb.ai login user password secret\n")
    assert has_wandb_key()
    file.write_text("no netrc file at all\n")
    assert not has_wandb_key()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert has_wandb_key()


def data(root: Path) -> Dataset:
    return Dataset(root, "voc", "train", LabelMap(("car",)), ())


def test_mlflow_has_the_figures_of_every_epoch_and_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow: make test-long installs it")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    folder = tmp_path / "mine"
    folder.mkdir()
    (log,) = open_logs(("mlflow",), folder, RECIPE, data(tmp_path), None, anew=True, warn=pytest.fail)
    for row in ROWS:
        log.on_epoch(row)
    log.on_end(End(folder))
    client = mlflow.MlflowClient((folder / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("singleshot")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "mine" and run.info.status == "FINISHED"
    assert run.data.params["model"] == "lite320-fine" and run.data.params["seed"] == "3"
    assert run.data.metrics["score/val_map"] == 0.5 and run.data.metrics["ap_val/car"] == 0.75
    points = client.get_metric_history(run.info.run_id, "score/val_map")
    assert [(point.step, point.value) for point in points] == [(20, 0.25), (40, 0.5)]


def test_wandb_without_a_key_logs_offline_and_says_how_to_upload(tmp_path: Path) -> None:
    """In a process of its own: wandb starts a service, and reads its settings once."""
    pytest.importorskip("wandb", reason="needs the extra wandb: make test-long installs it")
    program = f"""
import sys
from pathlib import Path
from singleshot.training.callbacks import End
from singleshot.training.trackers import WandbLog
folder = Path(sys.argv[1])
log = WandbLog(folder, {RECIPE!r}, lambda line: print("WARNING", line))
for row in {ROWS!r}:
    log.on_epoch(row)
log.on_end(End(folder))
"""
    folder = tmp_path / "mine"
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment = kept | {"HOME": str(tmp_path), "WANDB_ERROR_REPORTING": "false"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("WARNING")]
    assert "logged offline" in line and "wandb sync" in line
    (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    stored = file.read_bytes()
    assert all(text in stored for text in (b"score/val_map", b"ap_val/car", b"lite320-fine"))
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["mine"]
