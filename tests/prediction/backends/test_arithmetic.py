"""A float32 row is float32, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from singleshot.benchmark import machine
from singleshot.benchmark.results import CONDITIONS
from singleshot.data.boxes import voc
from singleshot.prediction.backends.arithmetic import arithmetic, search_algorithms, use_exact_fp32
from singleshot.prediction.load import device_of
from singleshot.training.devices import open_fabric
from singleshot.training.recipe import Recipe
from singleshot.training.run import provenance_of
from tests.training.conftest import draw_squares

BACKENDS = torch.backends


@pytest.fixture(autouse=True)
def as_torch_starts() -> Iterator[None]:
    before = BACKENDS.cuda.matmul.allow_tf32, BACKENDS.cudnn.allow_tf32, BACKENDS.cudnn.benchmark
    BACKENDS.cuda.matmul.allow_tf32, BACKENDS.cudnn.allow_tf32, BACKENDS.cudnn.benchmark = False, True, False
    yield
    BACKENDS.cuda.matmul.allow_tf32, BACKENDS.cudnn.allow_tf32, BACKENDS.cudnn.benchmark = before


def test_torchs_own_float32_is_tf32_in_convolutions() -> None:
    assert arithmetic() == {"tf32": True, "cudnn_benchmark": False}


def test_set_once_it_is_float32_everywhere_by_torchs_newer_names_too() -> None:
    use_exact_fp32()
    search_algorithms()
    assert arithmetic() == {"tf32": False, "cudnn_benchmark": True}
    assert BACKENDS.cuda.matmul.fp32_precision == "ieee" and BACKENDS.cudnn.conv.fp32_precision in ("ieee", "none")
    assert torch.get_float32_matmul_precision() == "highest"


def test_training_sets_both_and_prediction_the_first() -> None:
    device_of("cpu")
    assert arithmetic() == {"tf32": False, "cudnn_benchmark": False}
    BACKENDS.cudnn.allow_tf32 = True
    open_fabric(precision="fp32", device="cpu")
    assert arithmetic() == {"tf32": False, "cudnn_benchmark": True}


def test_a_benchmark_says_which_arithmetic_a_cuda_device_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_exact_fp32()
    on_cpu = machine.facts(device="cpu", precision="fp32", data=tmp_path)
    assert on_cpu["tf32"] is on_cpu["cudnn_benchmark"] is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GPU")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=1))
    facts = machine.facts(device="cuda", precision="fp32", data=tmp_path)
    assert (facts["precision"], facts["tf32"], facts["cudnn_benchmark"]) == ("fp32", False, False)
    assert {"tf32", "cudnn_benchmark"} < set(CONDITIONS)  # compare names them where two machines differ


def test_weights_say_which_arithmetic_trained_them(tmp_path: Path) -> None:
    provenance = provenance_of(voc.read(draw_squares(tmp_path / "squares"), "train"), Recipe(precision="fp32"))
    assert provenance["precision"] == "fp32" and {"tf32", "cudnn_benchmark"} < provenance.keys()
