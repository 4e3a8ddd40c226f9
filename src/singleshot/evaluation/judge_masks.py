"""Judging a segmenter: whatever answers, `evaluate`, the loop of training or the demo, counts pixels by this one loop.

An answer is counted on its way, so that the same pass over a split can draw, write and judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from singleshot.errors import DataError, Fault
from singleshot.evaluation.maxf import MaxfJudge, MaxfReport
from singleshot.evaluation.miou import MiouJudge, MiouReport
from singleshot.evaluation.segment import Seen, segment
from singleshot.metrics.road_maxf import ROAD, as_values
from singleshot.prediction.predictor import Segmenter
from singleshot.structures import Dataset

PixelMetric = Literal["miou", "maxf"]
Judge = MiouJudge | MaxfJudge


def require_masks(dataset: Dataset) -> None:
    """Raises DataError (`no-masks`) where pictures of a split have no mask: nothing could be judged there."""
    without = sum(sample.mask_path is None for sample in dataset.samples)
    if without or dataset.mask_code is None:
        what = f"{without or len(dataset)} of {len(dataset)} pictures of {dataset.split} have no mask"
        raise DataError(what, kind="no-masks", remedy="Name a split with masks", file=dataset.root)


def judge_of(metric: PixelMetric, dataset: Dataset, *, instances: bool = True) -> Judge:
    """Who counts a split's pixels by a metric.

    Args:
        metric: `miou`, or `maxf` of two classes.
        dataset: a split with masks.
        instances: count Cityscapes' iIoU too, for which every picture has a second, larger file.

    Raises:
        DataError: pictures have no masks (`no-masks`), or MaxF is wanted of other than two classes.
    """
    require_masks(dataset)
    return MaxfJudge(dataset) if metric == "maxf" else MiouJudge(dataset, instances=instances)


def counted(judge: Judge, answers: Iterable[Seen]) -> Iterator[Seen]:
    """The same answers, each of them judged as it passes; what has no truth is passed on."""
    for seen in answers:
        if seen.truth is not None:
            # A file's map of road is in `class_ids`.
            by_class = isinstance(judge, MiouJudge)
            found = seen.class_ids if by_class or seen.chances is None else as_values(seen.chances)
            judge.count(seen.index, seen.truth, found)
        yield seen


def judge_segmenter(
    segmenter: Segmenter,
    dataset: Dataset,
    *,
    metric: PixelMetric = "miou",
    workers: int = 0,
    on_bad: Literal["fail", "skip"] = "fail",
    on_skipped: Callable[[Fault], None] | None = None,
) -> MiouReport | MaxfReport:
    """A segmenter's figures on a split.

    Args:
        segmenter: the segmenter.
        dataset: a split with masks, of the segmenter's classes.
        metric: see `judge_of`.
        workers: processes that read.
        on_bad: end at a pair that cannot be read, or leave it out.
        on_skipped: is told of each pair that was left out.

    Raises what `judge_of`, `same_classes` and `segment` raise.
    """
    judge = judge_of(metric, dataset)
    same_classes(segmenter, dataset)
    chances_of = ROAD if metric == "maxf" else None
    answers = segment(segmenter, dataset, workers=workers, chances_of=chances_of, on_bad=on_bad, on_skipped=on_skipped)
    for _ in counted(judge, answers):
        pass
    return judge.report()


def same_classes(segmenter: Segmenter, dataset: Dataset) -> None:
    """Raises DataError (`other-classes`) where a split's classes are not the segmenter's, one by one."""
    if segmenter.label_map != dataset.label_map:
        theirs, ours = ", ".join(dataset.label_map.names), ", ".join(segmenter.label_map.names)
        what = f"the split's classes are {theirs}, the segmenter's {ours}"
        remedy = "Judge on data with the segmenter's classes"
        raise DataError(what, kind="other-classes", remedy=remedy, file=dataset.root)
