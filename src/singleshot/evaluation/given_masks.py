"""Another program's masks as answers: what `segment` gives for a network, from files, so that both are judged alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from singleshot.data.masks import files as mask_files
from singleshot.data.masks import kitti_road
from singleshot.data.masks import results as mask_results
from singleshot.errors import DataError, Fault, InputMissingError, fault_of
from singleshot.evaluation.segment import Seen
from singleshot.structures import UNKNOWN, Dataset, MaskCode


def given(
    files: Sequence[Path | None],
    dataset: Dataset,
    *,
    metric: Literal["miou", "maxf"],
    on_bad: Literal["fail", "skip"] = "fail",
    on_skipped: Callable[[Fault], None] | None = None,
) -> Iterator[Seen]:
    """The answers in the order of `dataset.samples`; pictures without a file are passed over.

    Args:
        files: each sample's result, as `mask_results.find` finds them.
        dataset: a split with masks.
        metric: `miou`: files of classes. `maxf`: grey maps of the probability of road, which are given as they
            stand in the place of class ids, at the picture's size or seen from above.
        on_bad: end at a truth that cannot be read, or leave the picture out. A result that cannot be read always
            ends it: pictures that a program failed at would make its figures better.
        on_skipped: is told of each picture that was left out.

    Raises:
        DataError, InputMissingError: a file cannot be read, is of another size, or holds train ids of Cityscapes.
    """
    code = dataset.mask_code or MaskCode((UNKNOWN,) * 256)
    train_ids = mask_results.TrainIdCheck(dataset)
    for index, (sample, file) in enumerate(zip(dataset.samples, files, strict=True)):
        if file is None or sample.mask_path is None:
            continue
        try:
            truth = mask_files.read(sample.mask_path, code)
        except (DataError, InputMissingError) as error:
            if on_bad == "fail":
                raise
            if on_skipped is not None:
                on_skipped(fault_of(error, sample.mask_path))
            continue
        size_hw = (truth.shape[0], truth.shape[1])
        if metric == "maxf":
            values = mask_files.read_grey(file)
            if values.shape != kitti_road.VIEW_HW:
                mask_results.check_size(file, values, size_hw)
            yield Seen(index, values, truth)
        else:
            class_ids = mask_results.read(file, dataset, size_hw)
            train_ids.update(class_ids)
            yield Seen(index, class_ids, truth)
    train_ids.check(next((file.parent for file in files if file is not None), dataset.root))
