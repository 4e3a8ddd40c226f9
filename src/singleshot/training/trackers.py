"""The logs that `train --log` names, and those of two experiment trackers: Weights & Biases and MLflow.

    singleshot train --data my-data --log tensorboard,wandb,mlflow

Each is a package of its own extra, which is imported here and nowhere else. A tracker gets the recipe as its
configuration, and every column of `log.csv`, at the run's step. Where they write to is for their own settings to say;
without any, both write into the run's folder and nothing leaves the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from singleshot.errors import ConfigError, UsageError, nearest
from singleshot.structures import Dataset
from singleshot.training.callbacks import Callback, End
from singleshot.training.loggers import OptionalLog, TensorBoardLog, place, summary_writer

Log = Literal["tensorboard", "wandb", "mlflow"]
LOGS: tuple[Log, ...] = get_args(Log)
PROJECT = "singleshot"
"""The project (Weights & Biases) or experiment (MLflow) of runs for which the tracker's own settings name none."""
LONGEST_PARAMETER = 500
"""Characters of a parameter that every server of MLflow takes."""


def parse_logs(text: str | Sequence[str] | None) -> tuple[Log, ...]:
    """Return which logs are named, each once, in the order of `LOGS`. Raises UsageError for an unknown name.

    >>> parse_logs("tensorboard,wandb"), parse_logs(["mlflow"]), parse_logs(None)
    (('tensorboard', 'wandb'), ('mlflow',), ())
    """
    names = [name.strip() for name in (text.split(",") if isinstance(text, str) else text or ())]
    for name in names:
        if name not in LOGS:
            near = nearest(name, LOGS)
            remedy = f"Did you mean {near}?" if near else f"There are {', '.join(LOGS)}"
            raise UsageError(f"no log {name!r}", remedy=remedy)
    return tuple(log for log in LOGS if log in names)


def check_available(logs: Sequence[Log]) -> None:
    """Raise ConfigError if the package of one of the logs is missing."""
    check = {"tensorboard": summary_writer, "wandb": _wandb, "mlflow": _mlflow_client}
    for name in logs:
        check[name]()


def open_logs(
    logs: Sequence[Log],
    folder: Path,
    recipe: str,
    train: Dataset,
    val: Dataset | None,
    *,
    anew: bool,
    warn: Callable[[str], None],
) -> list[Callback]:
    """Return the logs as callbacks. They open what they write to at their first entry.

    Args:
        logs: which ones.
        folder: of the run; TensorBoard's events go into `tensorboard` in it.
        recipe: the run's recipe, as JSON.
        train: where TensorBoard's training pictures come from.
        val: where its validation pictures come from, if any.
        anew: remove TensorBoard's events of a run that this one replaces.
        warn: is called with a warning where a log ends early.

    Raises ConfigError where a package is missing.
    """
    opened: list[Callback] = []
    if "tensorboard" in logs:
        open_writer, events = summary_writer(), folder / "tensorboard"
        if anew:
            TensorBoardLog.remove_events(events, warn)
        opened.append(TensorBoardLog(partial(open_writer, events), folder / "last.safetensors", train, val, warn))
    if "wandb" in logs:
        opened.append(WandbLog(folder, recipe, warn))
    if "mlflow" in logs:
        opened.append(MlflowLog(folder, recipe, warn))
    return opened


class WandbLog(OptionalLog):
    """Logs a run to Weights & Biases; offline where no key is known and WANDB_MODE says nothing else.

    A resumed run is a second one of the same group there.

    Args:
        folder: of the run; wandb's own files go into `wandb` in it.
        recipe: the run's recipe, as JSON.
        warn: is called with a warning where the log ends early.

    Raises ConfigError where the package is missing.
    """

    def __init__(self, folder: Path, recipe: str, warn: Callable[[str], None]) -> None:
        wandb = _wandb()

        def open_run() -> Any:
            mode = None
            if "WANDB_MODE" not in os.environ and not has_wandb_key():
                mode = "offline"
                warn(f"no key for Weights & Biases: logged offline. To upload: wandb sync {folder / 'wandb'}/offline-*")
            return wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=folder.name,
                group=folder.name,
                dir=str(folder),
                config=json.loads(recipe),
                mode=mode,
                settings=wandb.Settings(console="off", silent=True),  # ours is the program's output
            )

        super().__init__("Weights & Biases", open_run, warn)

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        """Log the row, at the run's step."""
        figures = _figures(row)
        self.write(lambda run: run.log(figures, step=int(row["step"])))

    def on_end(self, end: End) -> None:
        """Finish the run there; with an exit code of 1 if an error ended it."""
        self.close(lambda run: run.finish(exit_code=0 if end.error is None else 1))


class MlflowLog(OptionalLog):
    """Logs a run to MLflow, at MLFLOW_TRACKING_URI, or in files in the run's folder where that is not set.

    A resumed run is a second one of the same name there.

    Args:
        folder: of the run; without a tracking server the files go into `mlflow` in it.
        recipe: the run's recipe, as JSON; its fields are the parameters.
        warn: is called with a warning where the log ends early.

    Raises ConfigError where the package is missing.
    """

    def __init__(self, folder: Path, recipe: str, warn: Callable[[str], None]) -> None:
        client_of = _mlflow_client()

        def open_client() -> Any:
            address = os.environ.get("MLFLOW_TRACKING_URI")
            if not address:
                # Newer versions would have a database instead, which mlflow-skinny cannot write.
                os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
                address = (folder.resolve() / "mlflow").as_uri()
            client = client_of(address)
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            experiment = client.get_experiment_by_name(name)
            number = client.create_experiment(name) if experiment is None else experiment.experiment_id
            self._run_id = client.create_run(number, run_name=folder.name).info.run_id
            for field, value in json.loads(recipe).items():
                text = value if isinstance(value, str) else json.dumps(value)
                client.log_param(self._run_id, field, text[:LONGEST_PARAMETER])
            return client

        super().__init__("MLflow", open_client, warn)
        self._run_id = ""

    def on_epoch(self, row: Mapping[str, Any]) -> None:
        """Log the row, at the run's step."""
        now = int(time.time() * 1000)

        def log(client: Any) -> None:
            for name, value in _figures(row).items():
                client.log_metric(self._run_id, _allowed(name), value, timestamp=now, step=int(row["step"]))

        self.write(log)

    def on_end(self, end: End) -> None:
        """Finish the run there, as failed if an error ended it."""
        status = "FINISHED" if end.error is None else "FAILED"
        self.close(lambda client: client.set_terminated(self._run_id, status))


def _figures(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a row of `log.csv` by the place where trackers and TensorBoard show them."""
    return {place(name): float(value) for name, value in row.items() if name != "step" and value is not None}


def _allowed(name: str) -> str:
    """Return a name with `_` for what MLflow refuses in one: class names may have any character.

    >>> _allowed("ap_val/traffic light"), _allowed("ap_val/ampoule (à vis)")
    ('ap_val/traffic light', 'ap_val/ampoule _à vis_')
    """
    return "".join(each if each.isalnum() or each in "_-. :/" else "_" for each in name)


def _wandb() -> Any:
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError("wandb is not installed", remedy="pip install 'singleshot[wandb]'") from error
    return wandb


def has_wandb_key() -> bool:
    """Return whether there is a key for Weights & Biases, from the environment or from `wandb login` (a netrc file).

    wandb itself would ask for one on a terminal, and fail elsewhere.
    """
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    named = os.environ.get("NETRC")
    files = [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for file in files:
        with contextlib.suppress(OSError, NetrcParseError):
            if netrc(str(file)).authenticators(host):
                return True
    return False


def _mlflow_client() -> Any:
    try:
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError("mlflow is not installed", remedy="pip install 'singleshot[mlflow]'") from error
    return MlflowClient
