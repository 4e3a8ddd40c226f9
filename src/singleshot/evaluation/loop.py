"""The evaluation loop, one for detectors and segmenters: a split's batches → results → metrics.

    loader = eval_loader(predictor, dataset, workers=2)
    report = evaluate_split(predictor, loader, VocAP(dataset))

Work that is done on the way (a progress bar, a validation loss, drawn copies) goes through the batches itself:

    for batch, raw, results in predictions(predictor, loader):
        metric.update(batch, results)

Metrics get results and annotations only. Whether a network of ours made the results or they were read from another
program's files makes no difference, so their scores can be compared.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeVar

from singleshot.data.faults import OnBad
from singleshot.data.load.loader import ALL, EvalDetection, EvalSegmentation, Loader, LoaderOptions, Shard
from singleshot.errors import DataError
from singleshot.prediction.frames import check_batch_size
from singleshot.prediction.predictor import Predictor
from singleshot.structures import Batch, Dataset

BATCH_SIZES = {"detection": 16, "segmentation": 8}

Result = TypeVar("Result")
Report = TypeVar("Report")


class Metric(ABC, Generic[Result, Report]):
    """Scores the results of a split: `update` with every batch, `merge` over the ranks, then `compute`."""

    @abstractmethod
    def update(self, batch: Batch[Any], results: Sequence[Result]) -> None:
        """Adds the results of a batch, one for each of its images."""

    @abstractmethod
    def state(self) -> Any:
        """Returns what was added so far, as a value that pickles."""

    @abstractmethod
    def merge(self, states: Iterable[Any]) -> None:
        """Replaces what was added by the sum of the states of all ranks, this one's included."""

    @abstractmethod
    def compute(self) -> Report:
        """Returns the scores of all that was added."""


class Predicted(NamedTuple):
    """A batch and what the predictor made of it.

    Args:
        batch: without images that could not be read; at least one image.
        raw: the network's output.
        results: for each image.
    """

    batch: Batch[Any]
    raw: Any
    results: list[Any]


def eval_loader(
    predictor: Predictor[Any, Any],
    dataset: Dataset,
    *,
    batch_size: int | None = None,
    workers: int = 0,
    on_bad: OnBad = "fail",
    shard: Shard = ALL,
) -> Loader[Any]:
    """Returns the loader of a split for a predictor: images are only resized, in the order of the split.

    Args:
        predictor: says whether boxes or masks are loaded, and at which size the images.
        dataset: the split; it may be empty.
        batch_size: images that go through the network together; None for 16 of a detector, 8 of a segmenter.
        workers: processes that read images.
        on_bad: end at an image that cannot be read, or leave it out of the results; `Loader.faults` lists it.
        shard: which batches this process evaluates. The batches are those of one process alone, so the results are
            the same bit for bit, and no image counts twice.

    Raises:
        ConfigError: too little shared memory for the workers.
        UsageError: a batch size below 1.
    """
    if batch_size is not None:
        check_batch_size(batch_size)
    prepare = {"detection": EvalDetection, "segmentation": EvalSegmentation}[predictor.task]
    options = LoaderOptions(batch_size or BATCH_SIZES[predictor.task], on_bad=on_bad, workers=workers)
    return Loader(dataset, prepare(predictor.network.config.preprocess), options, shard)


def predictions(
    predictor: Predictor[Any, Any], loader: Loader[Any], *, probabilities: bool = False
) -> Iterator[Predicted]:
    """Yields the batches of a split with their results. Images that could not be read are left out.

    Args:
        predictor: a detector or a segmenter.
        loader: as `eval_loader` makes it. Its workers end with the loop.
        probabilities: of a segmenter: results carry each class's probability too.

    Raises:
        DataError, InputMissingError: an image cannot be read, and the loader's `on_bad` is "fail".
    """
    if predictor.fold:
        predictor = replace(predictor, fold=False)  # figures are those of the weights as they are
    with loader:
        for batch in map(Batch.without_unreadable, loader.epoch()):
            if not len(batch):
                continue
            raw, sizes_hw = predictor.forward(batch.inputs), batch.inputs.sizes_hw
            results: list[Any] = predictor.postprocess(raw, sizes_hw)
            if probabilities:
                detailed = replace(predictor, with_probabilities=True).postprocess(raw, sizes_hw)
                pairs = zip(results, detailed, strict=True)
                results = [replace(result, probabilities=more.probabilities) for result, more in pairs]
            yield Predicted(batch, raw, results)


def evaluate_split(
    predictor: Predictor[Any, Any],
    loader: Loader[Any],
    metric: Metric[Any, Report],
    gather: Callable[[Any], list[Any]] | None = None,
    *,
    probabilities: bool = False,
) -> Report:
    """Returns a metric's report on a split.

    Args:
        predictor: a detector or a segmenter.
        loader: the split, as `eval_loader` makes it.
        metric: without any results yet.
        gather: gives every rank's value to all; None for one process.
        probabilities: see `predictions`.

    Raises what `predictions` and the metric raise.
    """
    for batch, _, results in predictions(predictor, loader, probabilities=probabilities):
        metric.update(batch, results)
    if gather is not None:
        metric.merge(gather(metric.state()))
    return metric.compute()


def check_classes(predictor: Predictor[Any, Any], dataset: Dataset) -> None:
    """Raises DataError (`other-classes`) where a split's classes are not the predictor's, one by one."""
    if predictor.label_map == dataset.label_map:
        return
    model = {"detection": "detector", "segmentation": "segmenter"}[predictor.task]
    message = f"the split's classes are {', '.join(dataset.label_map.names)}, the {model}'s "
    message += ", ".join(predictor.label_map.names)
    remedy = f"Evaluate on data with the {model}'s classes"
    raise DataError(message, kind="other-classes", remedy=remedy, file=dataset.root)
