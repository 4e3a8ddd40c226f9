"""Stage 1: the device against the CPU. Networks, matching, loss, NMS, and what a step asks of the host.

The CPU's float32 is the reference. On a CPU the networks are compared with themselves, which only runs the code; the
tensor operations for accelerators are compared with the compiled loops there too, which is a check like any other.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import scenes, steps
from benchmarks.gpu.rows import Check, NotRunError, Place, Row, at_least, within
from singleshot.classes import VOC
from singleshot.data.sample_scenes import sample_scenes
from singleshot.detection import ssd
from singleshot.detection.adaptive import atss, task_aligned
from singleshot.detection.anchors import anchors_cxcywh
from singleshot.detection.coding import RawDetections
from singleshot.detection.loss import AnchorTargets, LossConfig, dense_losses, sparse_losses
from singleshot.detection.matching import Matcher, Rule, match_tensors
from singleshot.detection.postprocess import Postprocess, detect_compiled, detect_tensors, suppress, suppress_tensors
from singleshot.prediction.load import load
from singleshot.prediction.predictor import predictor_of
from singleshot.segmentation import fcn
from singleshot.structures import Detections
from singleshot.training.checkpoint import Checkpoint
from singleshot.training.devices import Precision
from singleshot.training.recipe import Recipe
from singleshot.training.state import Progress, facts_of, restore, tensors_of
from singleshot.training.step import TrainingStep

FP32 = 1e-4
ROUNDINGS = 16
"""Rounding steps of a half precision that outputs may be off by, relative to their norm: a network's layers add up."""
EPS = {"bf16": 2.0**-8, "fp16": 2.0**-11}
FIRST = ("vgg300", "lite320-fine2", "fcn8s-fine2", "lite320", "fcn8s-2017", "vgg512", "mobilenetv2-300", "fcn8s")
FIRST_ON_CPU = ("lite320-fine2", "fcn8s-fine2", "lite320", "mobilenetv2-300", "fcn8s-lite", "vgg300")
"""These models first; the others follow while there is time."""
TINY_HW = (96, 128)
"""Of every model on a CPU but VGG-16 detectors, whose last maps need about their own size."""
ALIKE_PX, ALIKE_SCORE, ALIKE_SHARE = 0.5, 0.01, 0.97
"""Detections are the same within these, and so many must be: as for exports."""


def checks(place: Place) -> Iterable[Check]:
    """The checks, those that cost least and say most first."""
    yield Check("matching, all rules, device and CPU", partial(_matching, place))
    yield Check("adaptive matching, device and CPU", partial(_adaptive, place))
    yield Check("loss and mining, device and CPU", partial(_losses, place))
    yield Check("NMS and postprocessing, device and CPU", partial(_suppression, place))
    yield Check("no host synchronisation in a step", partial(_no_sync, place), cuda_only=True)
    yield Check("resume on the device", partial(_resumed, place))
    yield Check("memory flat over 200 steps", partial(_flat, place), cuda_only=True)
    yield Check("the shipped detector's predictions", partial(_shipped, place))
    first = FIRST if place.cuda else FIRST_ON_CPU
    names = [*first, *(name for name in (*ssd.MODELS, *fcn.MODELS) if name not in first)]
    for name in names:
        yield Check(f"{name}: step, evaluation, prediction", partial(_model, place, name))
    for name in names:
        yield Check(f"{name}: bf16", partial(_half, place, name, "bf16"))
        yield Check(f"{name}: fp16", partial(_half, place, name, "fp16"), cuda_only=True)


def _recipe(place: Place, model: str, precision: Precision = "fp32") -> Recipe:
    """A recipe for two images; every background anchor is trained, since mining chooses between almost equal losses."""
    chosen = steps.recipe(model, 2, precision, None)
    loss = replace(chosen.loss, negatives_per_match=1e6)
    tiny = not place.cuda and (model not in ssd.MODELS or ssd.MODELS[model].backbone != "vgg16")
    return replace(chosen, loss=loss, input_size_hw=TINY_HW if tiny else None)


def _step(recipe: Recipe, device: str) -> tuple[TrainingStep, Any]:
    """A step without dropout, whose draws differ between devices, and its batch."""
    step = steps.training_step(recipe, device)
    for module in step.network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    batch = steps.batch(2, step.network.config.input_size_hw, masks=recipe.is_segmentation)
    return step, batch


def _relative(found: Iterable[Tensor], wanted: Iterable[Tensor]) -> float:
    """The norm of the difference over the norm, of all tensors together; NaN where one is not finite."""
    pairs = [(one.detach().double().cpu(), two.detach().double().cpu()) for one, two in zip(found, wanted, strict=True)]
    apart = math.sqrt(sum(float((one - two).square().sum()) for one, two in pairs))
    return apart / max(math.sqrt(sum(float(two.square().sum()) for _, two in pairs)), 1e-12)


def _gradients(step: TrainingStep) -> list[Tensor]:
    return [each.grad for each in step.network.parameters() if each.grad is not None]


def _raw(network: Any) -> list[Tensor]:
    """The evaluated network's output for two images."""
    network.eval()
    height, width = network.config.input_size_hw
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, height, width, generator=generator) * 50
    with torch.no_grad():
        found = network(images.to(next(network.parameters()).device))
    return list(found) if isinstance(found, tuple) else [found]


def _model(place: Place, model: str) -> Iterable[Row]:
    recipe = _recipe(place, model)
    reference, batch = _step(recipe, "cpu")
    step, _ = _step(recipe, place.device)
    weights = copy.deepcopy(reference.network.state_dict())
    wanted, found = reference(batch), step(batch)
    names = list(wanted.losses)
    yield within(
        f"{model}: losses of a training step, fp32",
        _relative([found.losses[name] for name in names], [wanted.losses[name] for name in names]),
        FP32,
    )
    yield within(
        f"{model}: gradient of a training step, fp32", _relative(_gradients(step), _gradients(reference)), FP32
    )
    for each in (reference, step):
        each.network.load_state_dict(weights)
    wanted_raw, found_raw = _raw(reference.network), _raw(step.network)
    yield within(f"{model}: outputs of an evaluation batch, fp32", _relative(found_raw, wanted_raw), FP32)
    image = np.asarray(sample_scenes()[0].image)
    here = predictor_of(step.network, device=torch.device(place.device)).predict(image)
    there = predictor_of(reference.network).predict(image)
    if isinstance(here, Detections) and isinstance(there, Detections):
        yield at_least(f"{model}: detections that both predictions have", _alike(here, there), ALIKE_SHARE)
    else:
        share = float((np.asarray(here.class_ids) == np.asarray(there.class_ids)).mean())  # pyright: ignore
        yield at_least(f"{model}: pixels on which both predictions agree", share, ALIKE_SHARE)


def _half(place: Place, model: str, precision: Precision) -> Iterable[Row]:
    network = steps.training_step(_recipe(place, model), "cpu").network
    wanted = _raw(network)
    network.to(place.device)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    with torch.autocast(place.device, dtype):
        found = _raw(network)
    yield within(
        f"{model}: outputs of an evaluation batch, {precision}",
        _relative([each.float() for each in found], wanted),
        ROUNDINGS * EPS[precision],
    )
    del network
    step, batch = _step(_recipe(place, model, precision), place.device)
    losses = step(batch).losses.values()
    finite = all(bool(loss.isfinite()) for loss in losses)
    yield at_least(f"{model}: losses of a training step are finite, {precision}", float(finite), 1.0)


def _alike(one: Detections, two: Detections) -> float:
    """The share of the detections of either that the other has too; those of scores at the edge of the list count."""
    if not len(one) and not len(two):
        return 1.0

    def had(these: Detections, others: Detections) -> int:
        if not len(others):
            return 0
        apart = np.abs(these.boxes_xyxy[:, None] - others.boxes_xyxy[None]).max(axis=2)
        scores = np.abs(these.scores[:, None] - others.scores[None])
        same = these.class_ids[:, None] == others.class_ids[None]
        return int(((apart <= ALIKE_PX) & (scores <= ALIKE_SCORE) & same).any(axis=1).sum())

    return (had(one, two) + had(two, one)) / (len(one) + len(two))


def _shipped(place: Place) -> Iterable[Row]:
    here, there = load("everyday", device=place.device), load("everyday", device="cpu")
    images = [np.asarray(scene.image) for scene in sample_scenes()]
    pairs = [(here.predict(image), there.predict(image)) for image in images]
    shares = [_alike(one, two) for one, two in pairs if isinstance(one, Detections) and isinstance(two, Detections)]
    yield at_least("everyday: detections that both predictions have", min(shares), ALIKE_SHARE)


def _training_batch(place: Place, mean_boxes: float) -> dict[str, Tensor]:
    size = {} if place.cuda else {"batch": 4, "count": 1200}
    return {name: torch.from_numpy(each) for name, each in asdict(scenes.training_batch(mean_boxes, **size)).items()}


def _matching(place: Place) -> Iterable[Row]:
    """To the bit: the overlaps are computed by the same operations in the same order."""
    for mean_boxes in (2.5, 50):
        batch = _training_batch(place, mean_boxes)
        present = batch["class_ids"] >= 0
        rules: tuple[Rule, ...] = ("bipartite", "per-prediction", "force-best")
        for rule in rules:
            matcher = Matcher(batch["anchors_cxcywh"], rule)
            wanted = matcher.match_batch(batch["boxes_cxcywh"], present)
            corners = Matcher(batch["boxes_cxcywh"].flatten(0, 1)).anchors_xyxy.view_as(batch["boxes_cxcywh"])
            anchors = matcher.anchors_xyxy.to(place.device)
            found = match_tensors(anchors, corners.to(place.device), present.to(place.device), rule)
            same = (found.cpu() == wanted).double().mean().item()
            yield at_least(f"matching, {rule}, {mean_boxes:g} boxes: anchors as on the CPU", same, 1.0)


def _adaptive(place: Place) -> Iterable[Row]:
    """Not to the bit: distances, means and deviations are sums, whose order is each device's own."""
    config = ssd.config_for("lite320" if place.cuda else "lite320-fine2", VOC, None if place.cuda else TINY_HW)
    anchors = anchors_cxcywh(config.anchors, config.input_size_hw, config.clip_anchors)
    batch = scenes.training_batch(8, batch=8, count=16)
    boxes, ids = torch.from_numpy(batch.boxes_cxcywh), torch.from_numpy(batch.class_ids)
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(len(ids), len(anchors), len(VOC), generator=generator)
    predicted = anchors + 0.02 * torch.randn(len(ids), len(anchors), 4, generator=generator)
    there = [each.to(place.device) for each in (anchors, boxes, ids, scores, predicted)]
    wanted = atss(anchors, config.anchors, boxes, ids >= 0)
    found = atss(there[0], config.anchors, there[1], there[2] >= 0).cpu()
    yield at_least("matching, atss: anchors as on the CPU", (found == wanted).double().mean().item(), 0.999)
    wanted = task_aligned(anchors, boxes, ids, scores, predicted)
    found = task_aligned(*there).cpu()
    yield at_least("matching, task-aligned: anchors as on the CPU", (found == wanted).double().mean().item(), 0.999)


def _losses(place: Place) -> Iterable[Row]:
    config = LossConfig()
    for mean_boxes in (2.5, 50):
        batch = _training_batch(place, mean_boxes)
        assignments = config.matcher(batch["anchors_cxcywh"]).match_batch(
            batch["boxes_cxcywh"], batch["class_ids"] >= 0
        )
        found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        ways: tuple[tuple[Callable[..., Any], str], ...] = ((dense_losses, place.device), (sparse_losses, "cpu"))
        for losses, device in ways:
            logits, offsets = (batch[name].detach().to(device) for name in ("class_logits", "box_offsets"))
            raw = RawDetections(logits.requires_grad_(), offsets.requires_grad_())
            given = [batch[name].to(device) for name in ("anchors_cxcywh", "boxes_cxcywh", "class_ids")]
            targets = AnchorTargets(given[0], given[1], given[2], assignments.to(device))
            matches = targets.is_positive.sum(dim=1).float().mean()
            image_class, image_box = losses(raw, targets, config, mean_matches=matches)
            (image_class.sum() + image_box.sum()).backward()
            assert raw.class_logits.grad is not None and raw.box_offsets.grad is not None
            found.append((image_class, image_box, raw.class_logits.grad, raw.box_offsets.grad))
        (one_class, one_box, *one), (two_class, two_box, *two) = found
        about = f"{mean_boxes:g} boxes"
        yield within(f"loss, {about}: of images", _relative([one_class, one_box], [two_class, two_box]), 1e-5)
        yield within(f"loss, {about}: gradient", _relative(one, two), 1e-5)
        mined = (one[0].cpu().abs().sum(dim=2) > 0) == (two[0].abs().sum(dim=2) > 0)
        share = mined.double().mean().item()
        yield at_least(
            f"mining, {about}: anchors trained as on the CPU", share, 0.9999, note="losses differ in rounding"
        )


def _suppression(place: Place) -> Iterable[Row]:
    count = 8732 if place.cuda else 1200
    anchors = scenes.anchors(count)
    corners = Matcher(torch.from_numpy(anchors)).anchors_xyxy
    rows = corners[: 400 * (count // 400)].view(-1, 400, 4)
    alive = suppress_tensors(rows.to(place.device), torch.ones(rows.shape[:2], dtype=torch.bool).to(place.device), 0.45)
    same = 0
    for boxes, found in zip(rows.numpy(), alive.cpu().numpy(), strict=True):
        kept = np.empty(len(boxes), np.int64)
        survivors = kept[: suppress(np.ascontiguousarray(boxes), np.float32(0.45), kept)]
        same += int(np.array_equal(np.flatnonzero(found), survivors))
    yield at_least("NMS: rows of 400 boxes as on the CPU, to the bit", same / len(rows), 1.0)
    config = Postprocess()
    for regime in scenes.REGIMES:
        logits, offsets = (torch.from_numpy(each) for each in scenes.answer(anchors, regime))
        edges = np.ones((1, 2), np.float32)
        wanted, counts = detect_compiled(RawDetections(logits, offsets), torch.from_numpy(anchors), edges, config)
        given = [each.to(place.device) for each in (logits, offsets, torch.from_numpy(anchors))]
        tables = detect_tensors(RawDetections(given[0], given[1]), given[2], torch.from_numpy(edges), config, "softmax")
        table, here = (each.cpu().numpy() for each in tables)
        number, number_here = int(counts[0]), int(here[0])
        shared = {tuple(row) for row in np.round(wanted[0, :number], 3)}
        shared &= {tuple(row) for row in np.round(table[0, :number_here], 3)}
        share = len(shared) / max(number, number_here, 1)
        yield at_least(f"postprocessing, {regime}: detections as on the CPU", share if number else 1.0, ALIKE_SHARE)


def _no_sync(place: Place) -> Iterable[Row]:
    kinds = {"vgg300": "bipartite", "lite320-fine2": "atss", "lite320": "task-aligned", "fcn8s-fine2": "bipartite"}
    for model, matching in kinds.items():
        recipe = steps.recipe(model, 4, "bf16", None)
        recipe = replace(recipe, loss=replace(recipe.loss, matching=matching), ema_decay=0.99)
        step, _ = _step(recipe, place.device)
        batch = steps.batch(4, step.network.config.input_size_hw, masks=recipe.is_segmentation).pin_memory()
        for _ in range(3):
            step(batch)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            step(batch)
            said = ""
        except RuntimeError as error:
            said = " ".join(str(error).split())[:200]
        finally:
            torch.cuda.set_sync_debug_mode("default")
        name = f"a step of {model} with {matching} matching waits for nothing"
        yield at_least(name, float(not said), 1.0, note=said)


def _resumed(place: Place) -> Iterable[Row]:
    """Two steps, a checkpoint into a new network, two more: as four in a row."""
    chosen = steps.recipe("lite320-fine2", 2, "fp32", None)
    optimizer = replace(chosen.optimizer, lr=1e-3)
    chosen = replace(chosen, optimizer=optimizer, ema_decay=0.9, input_size_hw=None if place.cuda else TINY_HW)
    whole, batch = _step(chosen, place.device)
    for _ in range(2):
        whole(batch)
    progress = Progress(step=2)
    tensors = tensors_of(progress, whole.network, whole.optimizer, whole.ema)
    saved = Checkpoint(
        Path(),
        2,
        {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()},
        copy.deepcopy(facts_of(progress, whole.optimizer, whole.ema)),
    )
    resumed, _ = _step(chosen, place.device)
    restore(saved, resumed.network, resumed.optimizer, resumed.ema)
    for step in (whole, resumed):
        for _ in range(2):
            step(batch)
    apart = _relative(resumed.network.parameters(), whole.network.parameters())
    note = "cuDNN adds in no fixed order" if place.cuda else "to the bit"
    yield within("resume: weights after it against an undisturbed run", apart, 1e-5 if place.cuda else 0.0, note=note)


def _flat(place: Place) -> Iterable[Row]:
    if not place.cuda:
        raise NotRunError("the CPU's allocator counts nothing")
    step, _ = _step(steps.recipe("lite320-fine2", 8, "bf16", None), place.device)
    batch = steps.batch(8, step.network.config.input_size_hw).pin_memory()
    for _ in range(20):
        step(batch)
    torch.cuda.synchronize()
    before, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    for _ in range(200):
        step(batch)
    torch.cuda.synchronize()
    yield within("memory: more bytes allocated after 200 steps", torch.cuda.memory_allocated() - before, 0, "bytes")
    yield within("memory: more bytes reserved after 200 steps", torch.cuda.memory_reserved() - reserved, 0, "bytes")
