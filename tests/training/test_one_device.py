"""No model mixes devices, and a training step never waits for the device: run with tensors that have no values.

Tensors on PyTorch's `meta` device have a shape, a type and a device, as those on an accelerator, and no numbers: an
operation between them and tensors of the host is refused, and so is every question about a value, for which the host
would have to wait until an accelerator has caught up.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from singleshot.detection import ssd
from singleshot.prediction.predictor import Detector, Segmenter, predictor_of
from singleshot.preprocess import normalise
from singleshot.segmentation import fcn
from singleshot.structures import Batch, BoxTargets
from singleshot.training.criterion import Criterion, DetectionCriterion, SegmentationCriterion
from singleshot.training.devices import Fabric
from singleshot.training.optimizer import OptimizerConfig
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe
from singleshot.training.step import TrainingStep

META = torch.device("meta")
WAITING = frozenset(
    {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "nonzero_numpy", "masked_select", "argwhere"}
    | {"_unique2", "unique_dim", "unique_consecutive", "bincount", "repeat_interleave"}
)
"""Operations whose result, or its shape, depends on values of the device."""
COPIES = frozenset(("_to_copy", "to", "copy_", "_foreach_copy_"))


class OneDevice(TorchDispatchMode):
    """Refuses operations that mix devices or wait for one; counts the copies to the host, which then are zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.to_host = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device.type for tensor in tensors if tensor.ndim or tensor.device == META}
        if "meta" in devices and name in WAITING:
            raise AssertionError(f"{func} waits for the device")
        if "meta" in devices and name.startswith("index") and any(t.dtype == torch.bool for t in tensors[1:]):
            raise AssertionError(f"{func} with a mask waits for the device")
        to = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.device)]
        if "meta" in devices and name in ("_to_copy", "to") and to == [torch.device("cpu")]:
            self.to_host += 1
            return torch.zeros_like(tensors[0], device="cpu")
        if len(devices) > 1 and name not in COPIES:
            raise AssertionError(f"{func} mixes {', '.join(sorted(devices))}")
        return func(*args, **kwargs)


class Stepper:
    """Takes the place of a fused optimizer, which alone looks at `found_inf`, and of which there is none here."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        assert self.optimizer.found_inf.device == META and self.optimizer.found_inf.shape == ()
        self.optimizer.found_inf = None
        self.optimizer.step()


class MetaFabric(Fabric):
    """As much of Fabric as a step asks for, on the device without values."""

    device: Any = META
    strategy: Any = SimpleNamespace(precision=None)

    def __init__(self) -> None:
        pass

    def setup(self, network: Any, optimizer: Any) -> Any:  # pyright: ignore
        return network, Stepper(optimizer)

    def no_backward_sync(self, module: Any, enabled: bool = True) -> Any:
        del module, enabled
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:  # pyright: ignore
        loss.backward()


def network_of(model: str) -> Any:
    with META:
        made = ssd.SSD(ssd.config_for(model, ("cat", "dog"))) if model in ssd.MODELS else None
        return (made or fcn.FCN(fcn.config_for(model, ("road", "other")))).to(META)


def batch_of(network: Any, images: int = 2) -> Batch[Any]:
    """Images on the host, as a loader gives them, the second without objects."""
    height, width = network.config.input_size_hw
    targets: Any = torch.zeros((images, height, width), dtype=torch.uint8)
    if isinstance(network, ssd.SSD):
        targets = BoxTargets(torch.rand(images, 3, 4), torch.tensor([[0, 1, 1], [-1, -1, -1]])[:images])
    return Batch(
        torch.zeros((images, height, width, 3), dtype=torch.uint8),
        targets,
        ("a", "b")[:images],
        torch.arange(images),
        torch.full((images, 2), 100),
        torch.tensor([False, True])[:images],
    )


def criterion_of(network: Any, recipe: Recipe) -> Criterion:
    if isinstance(network, ssd.SSD):
        return DetectionCriterion(network, recipe.loss)
    return SegmentationCriterion(recipe.pixel_loss)


def step_of(model: str, change: Callable[[Recipe], Recipe] = lambda recipe: recipe) -> TrainingStep:
    """A step as it runs on an accelerator after its first one, which makes the optimizer's state and may wait."""
    network = network_of(model)
    recipe = change(Recipe(model=model, ema_decay=0.9))
    criterion: Any = criterion_of(network, recipe)
    step = TrainingStep(network, criterion, recipe, MetaFabric(), Ranks(), print)
    step.network.train()
    step.deferred = True
    step.optimizer.state[next(step.network.parameters())] = {}
    return step


MODELS = [*ssd.MODELS, *fcn.MODELS]


@pytest.mark.parametrize("model", MODELS)
def test_a_training_step_of_every_model_neither_mixes_devices_nor_waits(model: str) -> None:
    step = step_of(model)
    batch = batch_of(step.network)
    with OneDevice() as watched:
        result = step(batch)
    assert watched.to_host == 0
    assert isinstance(result.finite, torch.Tensor) and result.finite.device == META
    assert all(loss.device == META for loss in result.losses.values())


@pytest.mark.parametrize("matching", ["bipartite", "per-prediction", "force-best", "atss", "task-aligned"])
@pytest.mark.parametrize("negatives", [0, "auto"])
@pytest.mark.parametrize("normaliser", ["batch", "image"])
def test_so_do_all_kinds_of_matching_and_loss(matching: Any, negatives: Any, normaliser: Any) -> None:
    def change(recipe: Recipe) -> Recipe:
        loss = replace(recipe.loss, matching=matching, negatives_when_empty=negatives, normaliser=normaliser)
        return replace(recipe, loss=loss, accumulate=2, optimizer=OptimizerConfig(kind="sgd", clip_norm=1.0))

    step = step_of("lite320-fine", change)
    batch = batch_of(step.network)
    with OneDevice():
        step(batch)


@pytest.mark.parametrize("model", MODELS)
def test_an_evaluation_batch_of_every_model_copies_its_results_to_the_host_once(model: str) -> None:
    network = network_of(model).eval()
    predictor = predictor_of(network, device=META)
    batch = batch_of(network)
    criterion = criterion_of(network, Recipe(model=model))
    with OneDevice() as watched, torch.inference_mode():
        raw = network(torch.zeros((2, 3, *network.config.input_size_hw), device=META))
        assert watched.to_host == 0
        targets = criterion.targets(batch.to(META))
        losses = criterion(raw, targets, criterion.totals(targets))
        assert watched.to_host == 0 and all(loss.device == META for loss in losses.values())
        assert isinstance(predictor, Detector | Segmenter)
        results = predictor.postprocess(raw, [(100, 100)] * 2)
    assert len(results) == 2 and watched.to_host == 2  # rows and counts of a detector; a map for each image


@pytest.mark.parametrize("fit", ["warp", "letterbox"])
@pytest.mark.parametrize("model", ["lite320-fine", "fcn8s-fine"])
def test_a_prediction_waits_for_its_results_alone(model: str, fit: Any) -> None:
    with META:
        config: Any = ssd.config_for if model in ssd.MODELS else fcn.config_for
        made: Any = ssd.SSD if model in ssd.MODELS else fcn.FCN
        network = made(config(model, ("cat", "dog"), (128, 160), fit=fit)).eval().to(META)
    predictor = predictor_of(network, device=META)
    inputs = predictor.preprocess([torch.zeros((50, 70, 3), dtype=torch.uint8).numpy()])
    with OneDevice() as watched, torch.inference_mode():
        images = inputs.images.to(META)
        raw = network(normalise(images, network.config.preprocess))
        (result,) = predictor.postprocess(raw, inputs.sizes_hw)
    assert watched.to_host == (2 if model in ssd.MODELS else 1)
    assert result.size_hw == (50, 70) if model in ssd.MODELS else result.class_ids.shape == (50, 70)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda x: bool((x > 0).any()), "waits"),
        (lambda x: x[x > 0], "waits"),
        (lambda x: x.nonzero(), "waits"),
        (lambda x: x + torch.ones(2), "mixes"),
    ],
)
def test_the_watch_sees_what_it_is_for(ask: Callable[[torch.Tensor], object], said: str) -> None:
    with OneDevice(), pytest.raises((AssertionError, RuntimeError), match=said):
        ask(torch.ones(2, device=META))
