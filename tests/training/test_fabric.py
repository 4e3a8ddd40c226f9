from __future__ import annotations

from pathlib import Path

import pytest
import torch

from singleshot.training.fabric import computes_in_bf16, open_fabric, resolve_precision


def test_a_given_precision_is_taken_and_auto_follows_the_processor() -> None:
    assert resolve_precision("fp32") == "fp32"
    assert resolve_precision("bf16") == "bf16"
    assert resolve_precision("auto", "cpu") == ("bf16" if computes_in_bf16() else "fp32")


@pytest.mark.parametrize(("precision", "inside"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_network_computes_in_the_precision_and_answers_in_float32(precision: str, inside: torch.dtype) -> None:
    fabric = open_fabric(precision=precision, device="cpu")  # pyright: ignore[reportArgumentType]
    seen: list[torch.dtype] = []
    layer = torch.nn.Linear(2, 2)
    layer.register_forward_hook(lambda _module, _input, output: seen.append(output.dtype))
    module = fabric.setup(layer)
    assert module(torch.ones(1, 2)).dtype == torch.float32
    assert seen == [inside]


def test_without_the_facts_about_the_processor_it_is_not_taken_for_a_bf16_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda _path: False)
    assert not computes_in_bf16()
