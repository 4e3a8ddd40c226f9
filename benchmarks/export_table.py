"""Every export format by every model: proof, size, time of a prediction, and what a precision costs.

    python -m benchmarks.export_table --models everyday,lite320 --formats onnx-fp32,ncnn-fp16 --runtime package

`--models` takes names and weights files. Formats whose extra is not installed are listed as such. Models that have no
shipped weights are untrained, with heads whose scores are spread; those have a proof and a time and no score. With
`--data`, the score before and after is that of the split, for models with its classes. `--figures FILE` also writes the
table as the pages show it (docs/figures/exports.json).
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import singleshot
from singleshot import weights
from singleshot.data import read as reading
from singleshot.data.sample_scenes import sample_scenes
from singleshot.detection.ssd import MODELS, SSD, config_for
from singleshot.errors import ConfigError, SingleshotError
from singleshot.exporting import calibration
from singleshot.exporting.export import PRECISIONS
from singleshot.prediction.backends.host import processor
from singleshot.prediction.predictor import predictor_of
from singleshot.segmentation import fcn

NAMES = ("car", "pedestrian", "traffic light")
CALLS = 15
COLUMNS = ["model", "format", "MB", "ms", "score lost", "proven: outputs, boxes, scores, detections in both"]


@dataclass(frozen=True)
class Row:
    """One format of one model; texts are ready for the table."""

    model: str
    format: str
    proof: str
    size_mb: str = "–"
    ms: str = "–"
    lost: str = "–"

    @property
    def cells(self) -> list[str]:
        """The texts in the order of `COLUMNS`."""
        return [self.model, self.format, self.size_mb, self.ms, self.lost, self.proof]


def untrained(model: str, folder: Path) -> Path:
    """Weights of a model whose scores are spread over 0…1, so that there are boxes to compare."""
    torch.manual_seed(0)
    path = folder / f"{model}.safetensors"
    if model in fcn.MODELS:
        segmenter = fcn.FCN(fcn.config_for(model, NAMES)).eval()
        for name, value in segmenter.head.named_parameters():
            if "score" in name and value.dim() > 1:
                nn.init.normal_(value, std=0.05)
        weights.save(path, segmenter, {"command": "untrained"})
        return path
    network = SSD(config_for(model, NAMES)).eval()
    detector: Any = predictor_of(network)
    maps = detector.forward(detector.preprocess([scene.image for scene in sample_scenes()]))
    gain = 3.0 / float(maps.class_logits.std().clamp(min=1e-3))
    # Offsets as of a trained network: those of an untrained VGG-16 are in the hundreds.
    box_gain = min(1.0, 1.0 / float(maps.box_offsets.std().clamp(min=1e-3)))
    for heads, factor in ((network.class_heads, gain), (network.box_heads, box_gain)):
        for head in heads:
            last = [each for each in head.modules() if isinstance(each, nn.Conv2d)][-1]
            last.weight.data.mul_(factor)
            if last.bias is not None:
                nn.init.zeros_(last.bias)
    weights.save(path, network, {"command": "untrained"})
    return path


def rows(models: list[str], formats: list[str], data: Path | None, runtime: Path | None) -> Iterator[Row]:
    """Yield each row as soon as it is measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in models:
            known = model in MODELS or model in fcn.MODELS
            source: Any = untrained(model, folder) if known else model
            opened = singleshot.load(source, device="cpu")
            label = model if known or not Path(model).suffix else f"{opened.network.config.model}, trained"
            yield Row(label, "torch fp32", "the model itself", "–", f"{_time(opened):.1f}")
            for kind in formats:
                yield replace(_row(model, kind, source, opened, folder, data, runtime), model=label)


def _row(model: str, kind: str, source: Any, opened: Any, folder: Path, data: Path | None, runtime: Path | None) -> Row:
    file_format, precision = kind.rsplit("-", 1)
    compiled = precision == "compiled"
    precision = "fp32" if compiled else precision
    if precision == "int8" and data is None:
        return Row(model, kind, "int8 needs --data")
    if file_format == "browser" and runtime is None:
        return Row(model, kind, "needs --runtime")
    try:
        made = singleshot.export(
            source,
            format=file_format,
            precision=precision,
            out=_target(folder, model, file_format, kind.rsplit("-", 1)[1]),
            compile=compiled,
            calibration_data=data if precision == "int8" else None,
            runtime=runtime if file_format == "browser" else None,
            overwrite=True,
        )
    except ConfigError as error:
        return Row(model, kind, f"not installed: {error.remedy}")
    except SingleshotError as error:
        return Row(model, kind, f"FAILED: {str(error).splitlines()[0]}")
    proof = "–"
    if made.parity is not None:
        found = made.parity
        proof = f"{found.raw:.1e} of the outputs, {found.box_px:.3f} px, {found.score:.4f}; {found.agreement:.1%} equal"
    ms, lost = "–", "–"
    if file_format not in ("coreml", "browser"):
        export = singleshot.load(made.path, device="cpu", trust=compiled)
        ms = f"{_time(export):.1f}"
        if made.cost is None and data is not None and precision != "fp32":
            lost = _lost(opened, export, data)
    if made.cost is not None and made.cost.before is not None and made.cost.after is not None:
        lost = f"{100 * (made.cost.before - made.cost.after):.2f} points"
    return Row(model, kind, proof, f"{made.bytes / 1e6:.1f}", ms, lost)


def _target(folder: Path, model: str, file_format: str, precision: str) -> Path:
    from singleshot.exporting.export import SUFFIXES

    return folder / f"{Path(model).stem}-{precision}{SUFFIXES[file_format]}"  # pyright: ignore[reportArgumentType]


def _lost(before: Any, after: Any, data: Path) -> str:
    try:
        names = reading.splits(data, with_masks=before.task == "segmentation")
        split = next((name for name in calibration.SPLITS if name in names), names[0])
        dataset = reading.read(data, split, with_masks=before.task == "segmentation")
    except SingleshotError:  # images alone
        return "–"
    if dataset.label_map != before.label_map:
        return "–"
    cost = calibration.cost(before, after, dataset)
    return "–" if cost.before is None or cost.after is None else f"{100 * (cost.before - cost.after):.2f} points"


def _time(model: Any) -> float:
    """The median of some predictions of one image in memory, milliseconds of this process's CPU time."""
    image = sample_scenes()[0].image
    model.predict(image)
    times = []
    for _ in range(CALLS):
        start = time.process_time()
        model.predict(image)
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times)


def main() -> None:
    """Print the table."""
    every = [f"{name}-{precision}" for name, known in PRECISIONS.items() for precision in known]
    every.insert(2, "pt2-compiled")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="everyday,vgg300,lite320,lite320-fine,fcn8s-fine")
    parser.add_argument("--formats", default=",".join(every))
    parser.add_argument("--data", type=Path, help="images for int8; a data set for the score lost")
    parser.add_argument("--runtime", type=Path, help="the unpacked npm package onnxruntime-web")
    parser.add_argument("--figures", type=Path, help="also write the table to this JSON file")
    chosen = parser.parse_args()
    threads = torch.get_num_threads()
    computer = f"{processor()}, torch {torch.__version__} with {threads} threads, median of {CALLS}"
    print(f"{computer}\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    made = []
    for row in rows(chosen.models.split(","), chosen.formats.split(","), chosen.data, chosen.runtime):
        print(f"| {' | '.join(row.cells)} |", flush=True)
        made.append(row.cells)
    if chosen.figures is not None:
        command = shlex.join(["python", "-m", "benchmarks.export_table", *sys.argv[1:]])
        day = time.strftime("%Y-%m-%d")
        found = {"command": [command], "date": day, "machine": computer, "columns": COLUMNS, "rows": made, "quoted": []}
        chosen.figures.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
