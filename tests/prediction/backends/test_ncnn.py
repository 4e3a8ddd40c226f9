from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import singleshot
from singleshot.errors import ConfigError, DataError, InputMissingError
from singleshot.prediction.backends.ncnn import checked_param, open_ncnn
from tests.exporting import made

NETWORK = b"""7767517
3 3
Input                    in0                      0 1 in0
Convolution              conv_0                   1 1 in0 1 0=16 1=3 6=432 -23310=2,0.0,6.0
Concat                   cat_0                    1 1 1 out0 0=0
"""


def test_a_list_of_layers_passes_as_it_is():
    assert checked_param(NETWORK, 432, Path("d.param")).encode() == NETWORK


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"7767517", b"7767518", "no ncnn network"),
        (b"3 3\n", b"4 3\n", "3 layers of 4"),
        (b"3 3\n", b"3 2\n", "3 values of 2"),
        (b"3 3\n", b"99999 3\n", "no ncnn network"),
        (b"Concat ", b"Custom ", "a layer Custom"),
        (b"6=432", b"6=433", "433 weights in 432 bytes"),
        (b"6=432", b"6=99999999999", "an impossible number"),
        (b"6=432", b"6=nan", "an impossible number"),
        (b"-23310=2,0.0,6.0", b"-23310=9,0.0,6.0", "a list of another length"),
        (b"1 1 in0 1 0=16", b"9 1 in0 1 0=16", "a layer without its inputs"),
        (b"1 1 in0 1 0=16", b"-1 1 in0 1 0=16", "a layer without its inputs"),
        (b"0=16", b"0=\xff", "can't decode"),
        (NETWORK, b"", "out of range"),
        (NETWORK, NETWORK[:60], "3 layers|1 layers|0 layers|out of range|layers of"),
    ],
)
def test_a_text_that_ncnn_must_not_see_is_refused(old: bytes, new: bytes, said: str):
    with pytest.raises(DataError, match=said) as caught:
        checked_param(NETWORK.replace(old, new), 432, Path("d.param"))
    assert caught.value.kind == "damaged-export"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ncnn", reason="needs the extra ncnn")
    pytest.importorskip("pnnx", reason="needs the extra ncnn")
    return made.write_ncnn(tmp_path_factory.mktemp("ncnn"))


def test_without_ncnn_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from singleshot.prediction.backends import sidecar

    path = tmp_path / "d.ncnn.param"
    path.write_bytes(NETWORK)
    (tmp_path / "d.ncnn.bin").write_bytes(bytes(432))
    record = made.record("raw")
    graph = {"outputs": {"class_logits": "out0", "box_offsets": "out1"}}
    files = {".param": path, ".bin": tmp_path / "d.ncnn.bin"}
    sidecar.write(tmp_path / "d.ncnn.json", record, graph, files)
    monkeypatch.setitem(__import__("sys").modules, "ncnn", None)
    with pytest.raises(ConfigError, match=r"singleshot\[ncnn\]"):
        open_ncnn(path)


def test_the_network_answers_as_in_torch(written: Path):
    image = made.pictures(3)[2]
    found = open_ncnn(written, threads=1).run(np.stack([image, image[::-1]]))
    model = made.detector()
    wanted = model.forward(model.preprocess([image, image[::-1]]))
    for name in ("class_logits", "box_offsets"):
        ours = getattr(wanted, name).numpy()
        assert found[name].shape == ours.shape
        assert np.abs(found[name] - ours).max() < 1e-4 * np.abs(ours).max()


def test_predict_gives_the_weights_own_detections(written: Path):
    opened, model = singleshot.load(written), made.detector()
    assert opened.label_map == model.label_map
    for image in made.pictures(4):
        found, wanted = opened.predict(image, threshold=0.3), model.predict(image, threshold=0.3)  # pyright: ignore[reportCallIssue]
        assert len(wanted) > 3
        np.testing.assert_array_equal(found.class_ids, wanted.class_ids)
        np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=0.01)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)


def test_no_images_give_no_results(written: Path):
    assert singleshot.load(written).predict([]) == []


def test_a_segmenter_answers_as_in_torch(tmp_path: Path):
    pytest.importorskip("pnnx", reason="needs the extra ncnn")
    path = made.write_ncnn(tmp_path, made.segmenter_network())
    image = made.pictures(1)[0]
    same = singleshot.load(path).predict(image).class_ids == made.segmenter().predict(image).class_ids
    assert same.mean() > 0.999


@pytest.mark.parametrize("lost", [".bin", ".json"])
def test_a_file_that_was_not_copied_is_named(written: Path, tmp_path: Path, lost: str):
    for suffix in {".param", ".bin", ".json"} - {lost}:
        (tmp_path / f"d.ncnn{suffix}").write_bytes(written.with_suffix(suffix).read_bytes())
    with pytest.raises(InputMissingError, match=f"d.ncnn{lost} is not beside it"):
        open_ncnn(tmp_path / "d.ncnn.param")


def test_a_flipped_bit_in_the_weights_is_noticed(written: Path, tmp_path: Path):
    for suffix in (".param", ".bin", ".json"):
        data = bytearray(written.with_suffix(suffix).read_bytes())
        if suffix == ".bin":
            data[len(data) // 2] ^= 1
        (tmp_path / f"d.ncnn{suffix}").write_bytes(data)
    with pytest.raises(DataError, match="SHA-256 mismatch"):
        open_ncnn(tmp_path / "d.ncnn.param")


def test_the_json_says_what_a_program_needs(written: Path):
    facts = json.loads(written.with_suffix(".json").read_text(encoding="utf-8"))
    assert facts["class_names"] == list(made.NAMES)
    assert facts["input"] == {"name": "in0", "shape_chw": [3, *made.SIZE_HW]}
    assert facts["outputs"] == {"class_logits": "out0", "box_offsets": "out1"}
    assert facts["preprocess"]["mean_rgb"] == [127.5] * 3 and facts["decoding"]["centre_variance"] == 0.1
    anchors = np.array(facts["anchors_cxcywh"], dtype=np.float32)
    np.testing.assert_array_equal(anchors, made.network().anchors_cxcywh.numpy())
