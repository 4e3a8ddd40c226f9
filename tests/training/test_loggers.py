from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from singleshot import weights
from singleshot.data.boxes import voc
from singleshot.detection.ssd import SSD, config_for
from singleshot.streets import write
from singleshot.structures import Dataset
from singleshot.training.callbacks import Callbacks, End, Step
from singleshot.training.loggers import CsvLog, NoObserver, Observer, SilentObserver, TensorBoardLog
from singleshot.training.run_folder import RunFolder
from singleshot.training.trackers import open_logs


def test_warnings_reach_the_user_and_nothing_else_does(capsys: pytest.CaptureFixture[str]) -> None:
    for watcher in (NoObserver(), SilentObserver()):
        assert isinstance(watcher, Observer)
        watcher.step(epoch=0, step=1, done=0.5, parts={}, rate=0.1, images=2)
        watcher.epoch({"epoch": 1})
        watcher.warn("one line")
    said = capsys.readouterr()
    assert said.out == "" and said.err == "singleshot: warning: one line\n"


ROW = {
    "epoch": 1,
    "step": 20,
    "train_class": 2.0,
    "val_map": 0.25,
    "val_ap_car": None,
    "val_ap_pedestrian": 0.5,
    "lr": 0.1,
}


def step(number: int, epoch: int = 1) -> Step:
    return Step(epoch=epoch, step=number, done=0.5, losses={"class": 3.0}, lr=0.01, images=2)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = write.make(tmp_path_factory.mktemp("log") / "data", train=4, val=1, test=1, size_hw=(90, 120), workers=1)
    return voc.read(out, "train")


def save(folder: Path, flavour: str) -> None:
    torch.manual_seed(0)
    weights.save(folder / "last.safetensors", SSD(config_for(flavour, write.CLASS_NAMES, (64, 96))), {})


def run(folder: Path, scenes: Dataset, epochs: int = 1) -> list[str]:
    """Logs some epochs to TensorBoard, and returns the warnings."""
    said: list[str] = []
    val = replace(scenes, samples=scenes.samples[:1])
    (log,) = open_logs(("tensorboard",), folder, "{}", scenes, val, anew=True, warn=said.append)
    for epoch in range(1, epochs + 1):
        log.on_step(step(20 * epoch, epoch))
        log.on_epoch(ROW | {"epoch": epoch})
    log.on_end(End(folder))
    return said


def test_figures_images_and_histograms_are_there(scenes: Dataset, tmp_path: Path) -> None:
    save(tmp_path, "lite320-fine")
    said = run(tmp_path, scenes, epochs=2)
    found = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "histograms": 0})
    found.Reload()
    tags = found.Tags()
    assert set(tags["scalars"]) == {
        "step/class",
        "step/lr",
        "loss/train_class",
        "score/val_map",
        "ap_val/pedestrian",
        "run/lr",
    }
    assert [event.value for event in found.Scalars("score/val_map")] == [0.25, 0.25]
    assert set(tags["images"]) == {"training/0", "training/1", "training/2", "validation/0"}
    assert any(name.startswith("filters/trunk") for name in tags["histograms"])
    assert len(found.Images("training/0")) == 1, "weights that did not change are not drawn again"
    assert said == []


def test_a_replaced_run_leaves_no_events_and_a_resumed_one_all(scenes: Dataset, tmp_path: Path) -> None:
    for _ in range(2):
        run(tmp_path, scenes)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    (log,) = open_logs(("tensorboard",), tmp_path, "{}", scenes, None, anew=False, warn=pytest.fail)
    log.on_epoch(ROW)
    log.on_end(End(tmp_path))
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_no_log_writes_nothing(scenes: Dataset, tmp_path: Path) -> None:
    assert open_logs((), tmp_path, "{}", scenes, None, anew=True, warn=pytest.fail) == []
    assert list(tmp_path.iterdir()) == []


def test_the_csv_log_has_a_row_for_each_epoch_and_a_column_that_comes_later(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    log = Callbacks(CsvLog(folder), (), pytest.fail)
    log.on_step(step(1))
    for row in ({"epoch": 1, "step": 2}, {"epoch": 2, "step": 4, "val_map": 0.5}):
        log.on_epoch(row)
    log.on_end(End(folder.root))
    folder.close()
    assert (tmp_path / "run/log.csv").read_text() == "epoch,step,val_map\n1,2,\n2,4,0.5\n"


class Failing:
    """A writer whose disk is full."""

    calls = 0

    def __getattr__(self, name: str) -> Any:
        Failing.calls += 1
        raise OSError(28, "No space left\non device")


def test_f29_a_log_that_fails_ends_alone_and_is_reported_once(scenes: Dataset, tmp_path: Path) -> None:
    said: list[str] = []
    log = TensorBoardLog(Failing, tmp_path / "last.safetensors", scenes, None, said.append)
    for number in (20, 40, 60):
        log.on_step(step(number))
    log.on_epoch(ROW)
    log.on_end(End(tmp_path))
    assert Failing.calls == 1
    assert len(said) == 1 and "No space left on device" in said[0] and "goes on" in said[0]


def test_f29_a_folder_that_cannot_be_made_ends_the_log_alone(scenes: Dataset, tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    assert len(run(tmp_path, scenes)) == 1


@pytest.mark.slow
def test_the_scale_of_the_l2_norm_has_its_histogram(scenes: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = config_for("vgg300", write.CLASS_NAMES)
    weights.save(tmp_path / "last.safetensors", SSD(config), {})
    run(tmp_path, scenes)
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    (name,) = [name for name in found.Tags()["histograms"] if name.startswith("l2norm/")]
    values = found.Histograms(name)[0].histogram_value
    assert values.num == 512 and values.min == values.max == 20.0
