from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import pytest
import torch

import singleshot
from singleshot.backbones.layers import NearestResize
from singleshot.errors import ConfigError
from singleshot.exporting import litert
from tests.exporting import made


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert", None)
    with pytest.raises(ConfigError, match=r"singleshot\[litert\]"):
        made.write_litert(tmp_path)


@pytest.mark.slow
def test_weights_that_lie_channels_last_give_the_same_network(tmp_path: Path):
    """litert-torch takes the memory of weights for rows: of these it would make another network."""
    pytest.importorskip("litert_torch", reason="needs the extra litert")
    import copy

    turned = copy.deepcopy(made.network()).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    made.weights.save(tmp_path / "d.safetensors", turned, {})
    done = singleshot.export(tmp_path / "d.safetensors", format="litert")
    assert done.parity is not None and done.parity.raw < 1e-4 and done.parity.compared > 100


def test_cells_picked_by_their_index_are_those_of_a_nearest_resize():
    for small, large in itertools.product(range(1, 34), range(1, 67)):
        features = torch.randn(1, 2, small, 3)
        size_hw = (large, 7)
        assert torch.equal(litert._PickNearest()(features, size_hw), NearestResize()(features, size_hw)), (small, large)


@pytest.mark.slow
def test_maps_that_are_not_doubled_but_enlarged_by_a_fraction_are_resized_alike(tmp_path: Path):
    """litert-torch resizes 8 to 15 cells by another rule than torch."""
    pytest.importorskip("litert_torch", reason="needs the extra litert")
    made.weights.save(tmp_path / "d.safetensors", made.network(size_hw=(120, 160)), {})
    done = singleshot.export(tmp_path / "d.safetensors", format="litert")
    assert done.parity is not None and done.parity.raw < 1e-4 and done.parity.compared > 100


@pytest.mark.slow
def test_eight_bits_go_from_input_to_outputs_and_take_a_third_of_the_room(tmp_path: Path):
    pytest.importorskip("litert_torch", reason="needs the extra litert")
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    weights = made.write_weights(tmp_path)
    (tmp_path / "images").mkdir()
    for number, image in enumerate(made.pictures(4)):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), image)
    done = singleshot.export(weights, format="litert", precision="int8", calibration_data=tmp_path / "images")
    assert done.parity is not None and not done.parity.failures() and done.parity.agreement > 0.9
    assert done.bytes < 0.35 * weights.stat().st_size
    interpreter = Interpreter(str(done.path))
    details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert {each["dtype"].__name__ for each in details} == {"int8"}
