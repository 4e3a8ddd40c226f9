from __future__ import annotations

import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from singleshot.detection.ssd import MODELS
from singleshot.errors import DataError, InputMissingError
from singleshot.prediction.backends.pt2 import open_pt2, record_text
from tests.exporting import made
from tests.prediction.backends.bare import bare


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write_pt2(tmp_path_factory.mktemp("pt2"))


def test_an_archive_opens_with_its_record_and_runs_batches_of_any_size(archive: Path):
    backend = open_pt2(archive)
    assert backend.record == made.record()
    for shape in ((1, 97, 131, 3), (3, 128, 160, 3), (2, 1, 1, 3)):
        found = backend.run(np.zeros(shape, np.uint8))
        assert tuple(found) == made.record().output_names and found["counts"].shape == (shape[0],)


def test_a_damaged_program_is_refused_in_one_line(archive: Path, tmp_path: Path):
    from tests.prediction.backends.test_pt2 import changed

    bad = changed(archive, tmp_path, "models/model.json", lambda _: b"{}")
    with pytest.raises(DataError, match=r"x\.pt2: torch refuses it") as caught:
        open_pt2(bad)
    assert "\n" not in str(caught.value)


def test_an_archive_with_other_outputs_than_its_record_says_is_refused_when_it_is_opened(tmp_path: Path):
    made.pt2.write(made.pt2_program(), tmp_path / "x.pt2", made.record("raw").texts())
    with pytest.raises(DataError, match=r"x\.pt2: it has 4 outputs; needed are 2: class_logits, box_offsets"):
        open_pt2(tmp_path / "x.pt2")


def test_the_archive_runs_where_singleshot_is_not_installed(archive: Path, tmp_path: Path):
    image = made.pictures(1)[0]
    np.save(tmp_path / "i.npy", image)
    code = (
        "import torch, numpy, json\n"
        "texts = {'class_names.txt': ''}\n"
        f"module = torch.export.load({str(archive)!r}, extra_files=texts).module()\n"
        f"boxes, scores, ids, counts = module(torch.from_numpy(numpy.load({str(tmp_path / 'i.npy')!r}))[None])\n"
        "print(int(counts[0]), float(scores[0, 0]), json.loads(texts['class_names.txt'])[int(ids[0, 0])])\n"
    )
    wanted = made.detector().predict(image, threshold=0.0)
    count, score, name = bare(code).split(maxsplit=2)
    assert abs(int(count) - len(wanted)) <= 2
    assert abs(float(score) - wanted.scores[0]) < 1e-2 and name.strip() == wanted.class_names[0]


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
@pytest.mark.parametrize(
    "flavour",
    [
        *("vgg300", "vgg512-2017", "ssd300-torchvision", "lite320", "lite320-fine2", "mobilenetv2-300"),
        *("fcn8s", "fcn8s-2017", "fcn8s-lite", "fcn8s-fine2"),
    ],
)
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
