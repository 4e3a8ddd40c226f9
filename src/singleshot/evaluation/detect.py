"""What a detector sees in a whole split: the first half of every judgement of weights.

The judges see detections and annotations only. Whether a network of ours made the detections or they were read from
another program's result files makes no difference, so their figures can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from singleshot.data.load.loader import EvalDetection, Loader, LoaderOptions, Shard
from singleshot.detection.coding import RawDetections
from singleshot.errors import Fault
from singleshot.prediction.predictor import Detector
from singleshot.structures import Batch, BoxTargets, Dataset, Detections

EMPTY = RawDetections(torch.zeros(0, 0, 1), torch.zeros(0, 0, 4))


def detect(
    detector: Detector,
    dataset: Dataset,
    *,
    batch_size: int = 16,
    workers: int = 0,
    on_batch: Callable[[Batch[BoxTargets], RawDetections], None] | None = None,
    on_bad: Literal["fail", "skip"] = "fail",
    on_skipped: Callable[[list[Fault]], None] | None = None,
    rank: int = 0,
    world: int = 1,
    gather: Callable[[Any], list[Any]] | None = None,
) -> list[Detections]:
    """What a detector sees in every picture of a split, in the order of `dataset.samples`.

    Args:
        detector: the detector.
        dataset: the pictures. Their boxes are not looked at.
        batch_size: pictures that go through the network together.
        workers: processes that read pictures.
        on_batch: is shown every batch with the network's answer, for a loss or a progress bar. An exported detector
            keeps its answer to itself, and an empty one is shown.
        on_bad: end at a picture that cannot be read, or go on; nothing is detected in it then.
        on_skipped: is told of the pictures that were left out.
        rank: this process, from 0.
        world: how many processes share the work. Each takes whole batches of one process's run, every `world`-th from
            its `rank`-th on, so that the result is the same bit for bit and no picture counts twice.
        gather: gives every rank's value to all; needed where `world` is above 1.

    Raises:
        DataError, InputMissingError: a picture cannot be read, and `on_bad` is "fail".
    """
    blank = np.zeros((0, 4), dtype=np.float32)
    found = [
        Detections(blank, blank[:, 0], np.zeros(0, dtype=np.int64), np.empty(0, dtype=object), sample.size_hw or (0, 0))
        for sample in dataset.samples
    ]
    if not found:
        return found
    options = LoaderOptions(batch_size, workers=workers, on_bad=on_bad)
    mine: dict[int, Detections] = {}
    with Loader(dataset, EvalDetection(detector.network.config.preprocess), options, Shard(rank, world)) as loader:
        for batch in map(Batch.without_unreadable, loader.epoch()):
            if not len(batch):
                continue
            raw = detector.forward(batch.inputs)
            results = detector.postprocess(raw, batch.inputs.sizes_hw)
            if on_batch is not None:
                on_batch(batch, raw if isinstance(raw, RawDetections) else EMPTY)
            mine |= dict(zip(batch.indices.tolist(), results, strict=True))
        if loader.faults and on_skipped is not None:
            on_skipped(loader.faults)
    for part in [mine] if gather is None else gather(mine):
        for place, result in part.items():
            found[place] = result
    return found
