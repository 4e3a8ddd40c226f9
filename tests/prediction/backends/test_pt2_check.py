from __future__ import annotations

import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from singleshot.detection.ssd import MODELS
from singleshot.errors import DataError, InputMissingError
from singleshot.prediction.backends.pt2 import open_pt2
from singleshot.prediction.backends.pt2_check import record_text
from tests.exporting import made


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write_pt2(tmp_path_factory.mktemp("pt2"))


def changed(archive: Path, folder: Path, name: str, change: Any) -> Path:
    """A copy of an archive in which one entry is other bytes; a new entry where there was none."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(folder / "x.pt2", "w") as new:
        prefix = old.namelist()[0].split("/")[0]
        entries = {entry: old.read(entry) for entry in old.namelist()}
        whole = f"{prefix}/{name}"
        entries[whole] = change(entries.get(whole, b""))
        for entry, data in entries.items():
            new.writestr(entry, data)
    return folder / "x.pt2"


class Bomb:
    """Leaves a canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return (Path.touch, (self.canary,))


def test_our_own_archive_needs_no_trust(archive: Path):
    assert "lite320-fine" in (record_text(archive, trust=False) or "")


def test_e3_pickled_example_inputs_are_not_opened_without_trust(archive: Path, tmp_path: Path):
    canary = tmp_path / "canary"
    bad = changed(archive, tmp_path, "data/sample_inputs/model.pt", lambda _: pickle.dumps(Bomb(canary)))
    with pytest.raises(DataError, match=r"x\.pt2: it carries pickled example inputs.*--trust") as caught:
        open_pt2(bad)
    assert caught.value.exit_code == 65 and not canary.exists()
    assert record_text(bad, trust=True)


def with_program(**fields: Any) -> Any:
    def change(data: bytes) -> bytes:
        return json.dumps(json.loads(data) | fields).encode()

    return change


def test_e3_guards_foreign_calls_and_sizes_that_are_python_are_not_opened_without_trust(archive: Path, tmp_path: Path):
    bad = changed(archive, tmp_path, "models/model.json", with_program(guards_code=["__import__('os').system('true')"]))
    with pytest.raises(DataError, match="guards in Python"):
        record_text(bad, trust=False)
    bad = changed(archive, tmp_path, "models/model.json", with_program(more={"target": "torch.hub.load", "inputs": []}))
    with pytest.raises(DataError, match=r"calls torch\.hub\.load"):
        record_text(bad, trust=False)
    for text in ("__import__('os').getcwd()", "Symbol('s1').__class__", "().__class__", 7):
        bad = changed(archive, tmp_path, "models/model.json", with_program(more={"expr_str": text}))
        with pytest.raises(DataError, match="no arithmetic"):
            record_text(bad, trust=False)


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.from_file.default",  # makes, reads and with `shared` writes any file
        "torch.ops.aten.save.default",
        "torch.ops.prims.device_put.default",
        "_operator.call",
        "_operator.attrgetter",
        "_operator.pow",
        "math.factorial",
        "torch.sym_int",
    ],
)
def test_e3_operators_that_do_more_than_compute_are_not_opened_without_trust(
    archive: Path, tmp_path: Path, target: str
):
    bad = changed(archive, tmp_path, "models/model.json", with_program(more={"target": target, "inputs": []}))
    with pytest.raises(DataError, match=f"calls {target}"):
        record_text(bad, trust=False)


def test_e3_functions_as_arguments_and_towers_of_powers_are_not_opened_without_trust(archive: Path, tmp_path: Path):
    handed = {"name": "cond_fn", "arg": {"as_operator": "torch.hub.load"}}
    bad = changed(archive, tmp_path, "models/model.json", with_program(more=[handed]))
    with pytest.raises(DataError, match="hands a function on"):
        record_text(bad, trust=False)
    tower = "Pow(Integer(9), Pow(Integer(9), Pow(Integer(9), Integer(9))))"
    bad = changed(archive, tmp_path, "models/model.json", with_program(more={"expr_str": tower}))
    with pytest.raises(DataError, match="no arithmetic"):
        record_text(bad, trust=False)


@pytest.mark.slow
@pytest.mark.parametrize("flavour", ["vgg300", "vgg512-2017", "lite320", "fcn8s", "fcn8s-2017", "fcn8s-lite"])
def test_every_network_of_ours_is_made_of_operators_that_are_known(flavour: str, tmp_path: Path):
    names = ("a", "b")
    if flavour.startswith("fcn"):
        made.pt2.write(made.pt2.to_pt2(of_segmenter(flavour, names)), tmp_path / "x.pt2", {})
    else:
        made.pt2.write(made.pt2.to_pt2(of_detector(flavour, names)), tmp_path / "x.pt2", {})
    assert record_text(tmp_path / "x.pt2", trust=False) is None


@pytest.mark.slow
def test_weights_from_caffe_and_torchvision_are_made_of_operators_that_are_known(tmp_path: Path):
    config = made.config_for("lite320", ("a", "b"), (320, 320))
    blue_first = replace(config.preprocess, channel_order="bgr", std_rgb=(58.0, 57.0, 57.0))
    early = replace(config.postprocess, clip_before_nms=True)
    network = made.SSD(replace(config, preprocess=blue_first, postprocess=early)).eval()
    for form in ("whole", "raw"):
        program = made.DetectorProgram(network, made.LoopSuppression(), form, made.torch.float32)
        made.pt2.write(made.pt2.to_pt2(program), tmp_path / "x.pt2", {})
        assert record_text(tmp_path / "x.pt2", trust=False) is None


def of_segmenter(flavour: str, names: tuple[str, ...]) -> Any:
    network = made.FCN(made.fcn_config(flavour, names, (64, 96), fit="letterbox")).eval()
    return made.SegmenterProgram(network, "whole", made.torch.bfloat16)


def of_detector(flavour: str, names: tuple[str, ...]) -> Any:
    side = MODELS[flavour].anchors.side
    network = made.SSD(made.config_for(flavour, names, (side, side), fit="letterbox")).eval()
    return made.DetectorProgram(network, made.LoopSuppression(), "both", made.torch.bfloat16)


def test_e3_pickled_tensors_and_compiled_libraries_are_not_opened_without_trust(archive: Path, tmp_path: Path):
    config = json.dumps({"config": {"w": {"use_pickle": True, "path_name": "weight_0"}}}).encode()
    bad = changed(archive, tmp_path, "data/weights/model_weights_config.json", lambda _: config)
    with pytest.raises(DataError, match="a pickled tensor weight_0"):
        record_text(bad, trust=False)
    bad = changed(archive, tmp_path, "data/aotinductor/model/x.so", lambda _: b"elf")
    with pytest.raises(DataError, match=r"carries data/aotinductor/model/x\.so"):
        record_text(bad, trust=False)


def test_e1_a_truncated_archive_is_refused(archive: Path, tmp_path: Path):
    data = archive.read_bytes()
    for share in (0.0, 0.3, 0.9, 0.999):
        (tmp_path / "x.pt2").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DataError, match="truncated"):
            record_text(tmp_path / "x.pt2", trust=True)
    with pytest.raises(InputMissingError):
        record_text(tmp_path / "none.pt2", trust=False)


def test_an_archive_of_somebody_else_is_named_as_such(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.pt2", "w") as new:
        new.writestr("a/archive_format", "pt2")
    with pytest.raises(DataError, match="not a file that singleshot exported"):
        open_pt2(tmp_path / "x.pt2")
