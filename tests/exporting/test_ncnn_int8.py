from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import singleshot
from singleshot.errors import UsageError
from singleshot.exporting import ncnn_files, ncnn_int8
from singleshot.exporting.ncnn_files import Layer
from singleshot.exporting.ncnn_int8 import Magnitudes
from tests.exporting import made


def floats(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


def convolution(name: str, reads: str, gives: str, size: int = 1, **parameters: str) -> Layer:
    weights = np.linspace(-1, 1, 4 * 4 * size * size, dtype=np.float32)
    numbers = {0: "4", 1: str(size), 5: "1", 6: str(weights.size)} | {
        int(key[1:]): parameters[key] for key in parameters
    }
    return Layer("Convolution", name, (reads,), (gives,), numbers, weights, (np.ones(4, dtype=np.float32),))


def test_weights_of_each_row_use_its_whole_range_and_round_to_half_a_step():
    weights = floats(np.random.default_rng(0).normal(size=(5, 40)) * [[1.0], [10.0], [0.01], [0.0], [1e-20]])
    whole, scales = ncnn_int8.quantised_weights(weights)
    assert np.abs(whole).max(axis=1).tolist() == [127, 127, 127, 0, 127] and scales[3] == 0
    steps = np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)[:, None]
    assert (np.abs(whole * steps - weights) <= 0.5001 * steps).all()


def test_weights_for_winograds_transform_have_six_bits():
    plain, strided, pointwise = (
        convolution("a", "in0", "out0", 3),
        convolution("a", "in0", "out0", 3, _3="2"),
        convolution("a", "in0", "out0"),
    )
    found = [ncnn_int8.quantised([each], {"a": 1.0})[0].weights for each in (plain, strided, pointwise)]
    assert [np.abs(each).max() for each in found if each is not None] == [31, 127, 127]


def test_depthwise_layers_stay_as_they_are():
    layer = Layer(
        "ConvolutionDepthWise", "d", ("in0",), ("out0",), {0: "3", 6: "6", 7: "3"}, np.ones(6, dtype=np.float32)
    )
    assert ncnn_int8.quantisable([layer]) == {}


def test_a_fully_connected_layer_has_eight_bits_and_gives_floats():
    weights = floats([1, 2, 3, 4])
    layers = [
        Layer("InnerProduct", "f", ("in0",), ("1",), {0: "2", 2: "4"}, weights),
        convolution("a", "1", "out0"),
    ]
    found, _ = ncnn_int8.quantised(layers, {"f": 2.0, "a": 1.0})
    assert found.parameters[8] == "2" and found.weights is not None and found.weights.tolist() == [64, 127, 95, 127]
    np.testing.assert_allclose(np.concatenate(found.plain), [63.5, 31.75, 63.5])


def test_a_result_stays_in_integers_where_all_that_read_it_are_quantised():
    layers = [
        convolution("a", "in0", "1"),
        Layer("Split", "s", ("1",), ("2", "3"), {}),
        convolution("b", "2", "4"),
        convolution("c", "3", "5"),
        convolution("d", "5", "6"),
        Layer("Concat", "e", ("4", "6"), ("out0",), {}),
    ]
    assert ncnn_int8.quantisable(layers) == {"a": "in0", "b": "1", "c": "1", "d": "5"}
    found = {each.name: each for each in ncnn_int8.quantised(layers, {"a": 1.0, "b": 2.0, "c": 2.0, "d": 4.0})}
    assert [found[name].parameters[8] for name in "abcd"] == ["102", "2", "102", "2"]
    assert [each.tolist() for each in found["a"].plain[2:]] == [[127.0], [63.5]]  # its input's scale, its readers'
    assert [each.tolist() for each in found["c"].plain[2:]] == [[63.5], [31.75]]
    np.testing.assert_array_equal(found["a"].plain[0], np.ones(4))  # the bias
    part = {each.name: each for each in ncnn_int8.quantised(layers, {"a": 1.0, "c": 2.0})}  # b and d stay as they are
    assert part["a"].parameters[8] == "2" and part["c"].parameters[8] == "2" and part["b"] == layers[2]


def test_what_is_always_zero_gets_a_finite_scale():
    (found,) = ncnn_int8.quantised([convolution("a", "in0", "out0")], {"a": Magnitudes().limit()})
    assert found.plain[2].tolist() == [1.0]


def test_magnitudes_are_counted_without_zeros_whatever_their_order():
    values = [floats([0, -0.25, 0.5]), floats([0, 0]), floats([[8.0], [-3.0]])]
    one, other = Magnitudes(), Magnitudes()
    for each in values:
        one.add(each)
    for each in reversed(values):
        other.add(each)
    assert one.counts.sum() == other.counts.sum() == 4
    assert one.width * ncnn_int8.BINS >= 8 and one.counts[int(3 / one.width)] == 1


def test_uniform_values_keep_their_range_and_one_far_away_is_cut():
    count = 1_000_000
    uniform = Magnitudes()
    uniform.add(np.linspace(-2, 2, count, dtype=np.float32))
    assert uniform.limit() == pytest.approx(2, rel=0.01)
    uniform.add(floats([200]))
    # With the limit t the squared errors are count t² / (12 127²) and (200 - t)²: least at 200 / 6.167.
    assert (
        uniform.limit() == pytest.approx(200 / (1 + count / (12 * 127**2)), rel=0.01) == pytest.approx(32.43, rel=0.01)
    )


def test_8_bits_and_images_need_each_other(tmp_path: Path):
    with pytest.raises(UsageError, match="int8 and calibration pictures need each other"):
        singleshot.export(made.write_weights(tmp_path), format="ncnn", precision="int8")


def folder_of(folder: Path) -> Path:
    folder.mkdir()
    for number, image in enumerate(made.pictures(4)):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


@pytest.mark.slow
def test_an_export_is_proven_takes_a_third_of_the_room_and_runs_like_any_other(tmp_path: Path):
    pytest.importorskip("ncnn", reason="needs the extra ncnn")
    pytest.importorskip("pnnx", reason="needs the extra ncnn")
    weights, images = made.write_weights(tmp_path), folder_of(tmp_path / "images")
    done = singleshot.export(weights, format="ncnn", precision="int8", calibration_data=images)
    assert done.path.name == "d-int8.ncnn.param" and done.cost is None
    assert done.parity is not None and not done.parity.failures() and done.parity.agreement > 0.9
    assert done.parity.raw < 0.1
    assert done.path.with_suffix(".bin").stat().st_size < 0.3 * weights.stat().st_size
    opened, image = singleshot.load(done.path), made.pictures(3)[2]
    wanted = made.detector().predict(image, threshold=0.3)
    found = opened.predict(image, threshold=0.3)  # pyright: ignore[reportCallIssue]
    assert abs(len(found) - len(wanted)) <= 0.2 * len(wanted)


@pytest.mark.slow
def test_the_network_computes_what_its_whole_numbers_say(tmp_path: Path):
    """ncnn reads every scale where it belongs: a layer's result equals the sum of products, computed here."""
    ncnn = pytest.importorskip("ncnn", reason="needs the extra ncnn")
    rng = np.random.default_rng(0)
    weights, bias = floats(rng.normal(size=(8, 16))), floats(rng.normal(size=8))
    layers = [
        Layer("Input", "in0", (), ("in0",), {}),
        Layer("Convolution", "a", ("in0",), ("out0",), {0: "8", 1: "1", 5: "1", 6: "128"}, weights.ravel(), (bias,)),
    ]
    text, data = ncnn_files.written(ncnn_int8.quantised(layers, {"a": 3.0}))
    (tmp_path / "a.param").write_text(text)
    (tmp_path / "a.bin").write_bytes(data)
    net = ncnn.Net()
    assert net.load_param(str(tmp_path / "a.param")) == 0 and net.load_model(str(tmp_path / "a.bin")) == 0
    values = floats(rng.normal(size=(16, 5, 7)))
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(values))
    found = np.array(extractor.extract("out0")[1])
    whole, scales = ncnn_int8.quantised_weights(weights)
    rounded = np.rint(values * (127 / 3.0)).clip(-127, 127)
    wanted = np.einsum("oi,ihw->ohw", whole / scales[:, None], rounded * (3.0 / 127)) + bias[:, None, None]
    np.testing.assert_allclose(found, wanted, atol=0.05)
