"""Stage 3: inference by batch size, NMS on the device and on the host, matching on both, runtimes, and a video.

The host's way copies the network's answer through page-locked memory and runs the compiled loops on a core of the CPU,
one image after the other. The slower of the two ways can go: that is what these rows are for.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks import scenes
from benchmarks.gpu.rows import LIGHT, Check, NotRunError, Place, Row, at_least, measured
from benchmarks.predict_cpu import background
from singleshot import weights
from singleshot.classes import VOC
from singleshot.data.sample_scenes import sample_scenes
from singleshot.detection.coding import RawDetections
from singleshot.detection.matching import Matcher, match_compiled, match_tensors
from singleshot.detection.postprocess import detect_compiled, detect_tensors
from singleshot.detection.ssd import SSD, config_for
from singleshot.prediction.load import load
from singleshot.prediction.predictor import Detector
from singleshot.preprocess import normalise

SECONDS = 0.7
BATCHES = (1, 8, 32, 128)
GOALS = {"without NMS": 5000.0, "with NMS": 4000.0}
"""Images a second of vgg300 at batch 32 on an H100 or H200."""


def checks(place: Place) -> Iterable[Check]:
    """vgg300's rows first, which have goals."""
    for model in ("vgg300", "lite320"):
        for batch in BATCHES:
            yield Check(f"{model}: inference, batch {batch}", partial(_batch, place, model, batch), cuda_only=True)
    if not place.cuda:
        yield Check(f"{LIGHT}: inference, batch 2", partial(_batch, place, LIGHT, 2))
    yield Check("matching of a batch, on device and host", partial(_matching, place))
    yield Check("vgg300: inference, compiled", partial(_compiled, place), cuda_only=True)
    for provider in ("CUDAExecutionProvider", "TensorrtExecutionProvider"):
        yield Check(f"ONNX Runtime, {provider}", partial(_onnx, place, provider), cuda_only=True)
    yield Check("video, file to file", partial(_video, place))


def _rate(place: Place, call: Callable[[], object], count: int) -> float:
    """Images a second of a call on `count` images, after two that are not timed."""

    def wait() -> None:
        if place.cuda:
            torch.cuda.synchronize()

    for _ in range(2):
        call()
    wait()
    calls, start = 0, time.perf_counter()
    while calls < (5 if place.cuda else 1) or time.perf_counter() - start < (SECONDS if place.cuda else 0.0):
        call()
        calls += 1
    wait()
    return calls * count / (time.perf_counter() - start)


def network_of(place: Place, model: str) -> Any:
    """An untrained network that answers "background", as on most real images."""
    torch.manual_seed(0)
    network = SSD(config_for(model, VOC, None if place.cuda else (96, 96))).eval()
    background(network)
    return network.to(place.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def images_of(place: Place, network: Any, count: int) -> torch.Tensor:
    """Random uint8 images of the input's size, on the device."""
    height, width = network.config.input_size_hw
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return torch.from_numpy(pixels).to(place.device)


def forward(place: Place, network: Any, images: torch.Tensor) -> RawDetections:
    """The network's answer to uint8 images that are on the device; in bf16 on a CUDA device."""
    with torch.inference_mode(), torch.autocast(place.device, torch.bfloat16, enabled=place.cuda):
        return network(normalise(images, network.config.preprocess))


def _batch(place: Place, model: str, count: int) -> Iterable[Row]:
    network = network_of(place, model)
    images, anchors, config = images_of(place, network, count), network.anchors_cxcywh, network.config.postprocess
    edges = torch.ones(count, 2)
    host = {}
    if place.cuda:
        raw = forward(place, network, images)
        host = {
            name: torch.empty(each.shape, dtype=each.dtype, pin_memory=True) for name, each in raw._asdict().items()
        }
    host_anchors = anchors.cpu()

    def on_device() -> object:
        tables = detect_tensors(forward(place, network, images), anchors, edges, config, network.config.scores)
        return [table.cpu() for table in tables]

    def on_host() -> object:
        raw = forward(place, network, images)
        if place.cuda:
            for name, each in raw._asdict().items():
                host[name].copy_(each, non_blocking=True)
            torch.cuda.synchronize()
            raw = RawDetections(**host)
        return detect_compiled(raw, host_anchors, edges.numpy(), config, network.config.scores)

    about = f"{model}, batch {count}, {'bf16' if place.cuda else 'fp32'}"
    rates = {
        "without NMS": _rate(place, lambda: forward(place, network, images), count),
        "NMS on the device": _rate(place, on_device, count),
        "NMS on the host": _rate(place, on_host, count),
    }
    for name, rate in rates.items():
        yield measured(f"{about}: {name}", rate, "images/s")
    if place.cuda and (model, count) == ("vgg300", 32):
        best = max(rates["NMS on the device"], rates["NMS on the host"])
        for name, rate in (("without NMS", rates["without NMS"]), ("with NMS", best)):
            yield at_least(f"vgg300, batch 32: goal {name}", rate, GOALS[name], "images/s")


def _matching(place: Place) -> Iterable[Row]:
    for boxes in (2.5, 50):
        size = {} if place.cuda else {"batch": 2, "count": 1200}
        batch = {name: torch.from_numpy(each) for name, each in asdict(scenes.training_batch(boxes, **size)).items()}
        anchors = Matcher(batch["anchors_cxcywh"]).anchors_xyxy
        corners = Matcher(batch["boxes_cxcywh"].flatten(0, 1)).anchors_xyxy.view_as(batch["boxes_cxcywh"])
        present, count = batch["class_ids"] >= 0, len(corners)
        there = (anchors.to(place.device), corners.to(place.device), present.to(place.device))
        here = (anchors.numpy(), corners.numpy(), present.numpy())

        def on_device(given: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = there) -> object:
            return match_tensors(given[0], given[1], given[2], "bipartite")

        def on_host(given: tuple[np.ndarray, np.ndarray, np.ndarray] = here) -> object:
            return torch.from_numpy(match_compiled(given[0], given[1], given[2], "bipartite")).to(place.device)

        device = _rate(place, on_device, count)
        about = f"matching, {count} images, {boxes:g} boxes"
        yield measured(f"{about}: on the device", device, "images/s")
        yield measured(f"{about}: on one core of the host, copied", _rate(place, on_host, count), "images/s")


def _compiled(place: Place) -> Iterable[Row]:
    network = network_of(place, "vgg300")
    for mode in ("default", "reduce-overhead"):
        network.compile(mode=mode)
        images = images_of(place, network, 32)
        rate = _rate(place, lambda images=images: forward(place, network, images), 32)
        yield measured(f"vgg300, batch 32, bf16, compiled ({mode}): without NMS", rate, "images/s")


def _onnx(place: Place, provider: str) -> Iterable[Row]:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise NotRunError(f"not installed: {', '.join(missing)}")
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise NotRunError(f"this build of ONNX Runtime has no {provider}")
    import singleshot

    network = network_of(place, "vgg300").cpu()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vgg300.safetensors"
        weights.save(file, network, {})
        made = singleshot.export(file, format="onnx", check=False).path
        onnxruntime.set_default_logger_severity(3)
        if provider == "CUDAExecutionProvider":  # TensorRT would be taken first where both are there
            session = onnxruntime.InferenceSession(made, providers=[(provider, {"use_tf32": "0"})])
            images = images_of(place, network, 32).cpu().numpy()
            name = session.get_inputs()[0].name
            yield measured(
                "vgg300, batch 32, fp32, ONNX Runtime CUDA: with NMS",
                _rate(place, lambda: session.run(None, {name: images}), 32),
                "images/s",
            )
            return
        model = load(made, device="cuda")
        batch = list(images_of(place, network, 32).cpu().numpy())
        rate = _rate(place, lambda: model.predict(batch, batch_size=32), 32)
        yield measured("vgg300, batch 32, fp32, TensorRT: the whole call", rate, "images/s")


def _video(place: Place) -> Iterable[Row]:
    if importlib.util.find_spec("av") is None:
        raise NotRunError("PyAV is not installed")
    from benchmarks.video import MadeUpBoxes, measure
    from singleshot.prediction.stream import StreamOptions

    frames = 600 if place.cuda else 6
    size_hw = (432, 768) if place.cuda else (96, 128)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.mp4", Path(folder) / "out.mp4"
        images = [cv2.resize(np.asarray(scene.image), size_hw[::-1]) for scene in sample_scenes()]
        writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, size_hw[::-1])
        for index in range(frames):
            writer.write(np.ascontiguousarray(images[index // 25 % len(images)][:, :, ::-1]))
        writer.release()
        network = network_of(place, "lite320" if place.cuda else LIGHT)
        model = Detector(network, {}, torch.device(place.device), place.cuda)
        choice = MadeUpBoxes(np.full(len(VOC), 0.5, np.float32), boxes=5)
        options = StreamOptions(choice, drawing=True, batch_size=8)
        measure(source, model, options, out, most=3)
        run, done, _ = measure(source, model, replace(options), out, most=frames)
        name = f"video of {size_hw[1]}×{size_hw[0]}, {network.config.model}, decoded, drawn and encoded"
        yield measured(name, done / run.wall_s, "frames/s", f"{done} frames")
