"""Train, judge, export and run SSD object detectors, and benchmark machines by it.

    import singleshot
    model = singleshot.load("best.safetensors")
    result = model.predict("street.jpg", threshold=0.5)

The names below are the public surface. They are imported when they are first used, so that `import singleshot` and
`singleshot --help` cost milliseconds and not the seconds that torch takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from singleshot.drawing import draw
    from singleshot.errors import SingleshotError
    from singleshot.evaluation.evaluate import evaluate
    from singleshot.exporting.export import export
    from singleshot.prediction.load import load
    from singleshot.prediction.predictor import Detector, Segmenter
    from singleshot.pretraining.pretrain import pretrain
    from singleshot.reporting.comparison import compare_runs
    from singleshot.reporting.report import report
    from singleshot.reporting.review import review
    from singleshot.structures import Dataset, Detections, LabelMap, Sample, Segmentation
    from singleshot.training.callbacks import Callback
    from singleshot.training.recipe import Recipe
    from singleshot.training.run import train

__version__ = "0.2.0.dev0"
__all__ = [
    "Callback",
    "Dataset",
    "Detections",
    "Detector",
    "LabelMap",
    "Recipe",
    "Sample",
    "Segmentation",
    "Segmenter",
    "SingleshotError",
    "compare_runs",
    "draw",
    "evaluate",
    "export",
    "load",
    "pretrain",
    "report",
    "review",
    "train",
]

_HOME = {
    "Callback": "training.callbacks",
    "Dataset": "structures",
    "Detections": "structures",
    "Detector": "prediction.predictor",
    "LabelMap": "structures",
    "Recipe": "training.recipe",
    "Sample": "structures",
    "Segmentation": "structures",
    "Segmenter": "prediction.predictor",
    "SingleshotError": "errors",
    "compare_runs": "reporting.comparison",
    "draw": "drawing",
    "evaluate": "evaluation.evaluate",
    "export": "exporting.export",
    "load": "prediction.load",
    "pretrain": "pretraining.pretrain",
    "report": "reporting.report",
    "review": "reporting.review",
    "train": "training.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'singleshot' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"singleshot.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
