from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from singleshot.errors import DataError, InputMissingError
from singleshot.prediction.backends.openvino import OpenvinoBackend, open_openvino
from tests.exporting import made
from tests.prediction.backends.bare import bare


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write_openvino(tmp_path_factory.mktemp("openvino"))


@pytest.fixture
def copied(pair: Path, tmp_path: Path) -> Path:
    for suffix in (".xml", ".bin"):
        shutil.copy(pair.with_suffix(suffix), tmp_path / f"d{suffix}")
    return tmp_path / "d.xml"


def test_a_pair_of_files_opens_with_its_record_and_runs(pair: Path):
    backend = open_openvino(pair, threads=1)
    assert backend.record == made.record()
    for shape in ((1, 97, 131, 3), (2, 128, 160, 3)):
        found = backend.run(np.zeros(shape, np.uint8))
        assert tuple(found) == made.record().output_names and found["counts"].shape == (shape[0],)


def test_it_opens_an_onnx_file_too_and_finds_the_same(pair: Path, tmp_path: Path):
    image = made.pictures(3)[2][None]
    one, other = (
        open_openvino(pair, threads=1).run(image),
        open_openvino(made.write_onnx(tmp_path), threads=1).run(image),
    )
    assert int(one["counts"][0]) == int(other["counts"][0]) > 0
    assert np.allclose(one["scores"], other["scores"], atol=1e-4)


def test_bfloat16_is_a_choice_when_it_is_run(pair: Path):
    image = made.pictures(3)[2][None]
    exact, rough = (open_openvino(pair, bf16=bf16, threads=1).run(image)["scores"] for bf16 in (False, True))
    assert np.abs(exact - rough).max() < 0.1


def test_e2_other_numbers_than_those_it_was_written_with_are_refused(copied: Path):
    data = bytearray(copied.with_suffix(".bin").read_bytes())
    data[len(data) // 2] ^= 1
    copied.with_suffix(".bin").write_bytes(data)
    with pytest.raises(DataError, match=r"SHA-256 mismatch: d\.bin"):
        open_openvino(copied)


def test_missing_weights_and_files_that_are_none_are_named(copied: Path, tmp_path: Path):
    copied.with_suffix(".bin").unlink()
    with pytest.raises(InputMissingError, match=r"Copy d\.bin too"):
        open_openvino(copied)
    for text in ("hello", '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "b">]><net/>', '<?xml version="1.0"?><net'):
        (tmp_path / "e.xml").write_text(text)
        (tmp_path / "e.bin").write_bytes(b"0000")
        with pytest.raises(DataError):
            open_openvino(tmp_path / "e.xml")


def test_the_pair_runs_where_singleshot_is_not_installed(pair: Path, tmp_path: Path):
    image = made.pictures(1)[0]
    np.save(tmp_path / "i.npy", image)
    code = (
        "import openvino, numpy, json\n"
        f"model = openvino.Core().read_model({str(pair)!r})\n"
        "names = json.loads(model.get_rt_info(['singleshot', 'class_names']).astype(str))\n"
        "run = openvino.Core().compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})\n"
        f"found = run([numpy.load({str(tmp_path / 'i.npy')!r})[None]])\n"
        "print(int(found['counts'][0]), float(found['scores'][0, 0]), names[found['class_ids'][0, 0]])\n"
    )
    wanted = made.detector().predict(image, threshold=0.0)
    count, score, name = bare(code).split(maxsplit=2)
    assert abs(int(count) - len(wanted)) <= 2
    assert abs(float(score) - wanted.scores[0]) < 1e-2 and name.strip() == wanted.class_names[0]


def test_several_threads_get_the_same_results_as_one(pair: Path):
    backend = open_openvino(pair, threads=1)
    images = [np.random.default_rng(seed).integers(0, 255, (1, 97, 131, 3), dtype=np.uint8) for seed in range(12)]
    expected = [backend.run(image)["scores"] for image in images]
    with ThreadPoolExecutor(4) as pool:
        for outputs, scores in zip(pool.map(backend.run, images), expected, strict=True):
            np.testing.assert_allclose(outputs["scores"], scores, atol=1e-6)


@pytest.mark.parametrize(("bf16", "hint"), [(False, "f32"), (True, "bf16")])
def test_our_backend_says_in_which_precision_to_compute(
    bf16: bool, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: list[dict[str, Any]] = []

    class Core:
        def read_model(self, **given: Any) -> Any:
            return openvino.Core().read_model(**given)

        def compile_model(self, _model: Any, device: str, given: dict[str, Any]) -> None:
            assert device == "CPU"
            settings.append(given)

    path = made.write_openvino(tmp_path)
    backend = open_openvino(path)
    monkeypatch.setattr(openvino, "Core", Core)
    OpenvinoBackend(None, backend.record, backend.output_names, bf16=bf16)
    assert settings[0]["INFERENCE_PRECISION_HINT"] == hint
