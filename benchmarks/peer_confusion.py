"""torchmetrics' side of `confusion.py`: its confusion matrix, updated image by image."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torchmetrics.classification import MulticlassConfusionMatrix  # pyright: ignore[reportMissingImports]

from benchmarks.peers import serve

VOID = 255


def work(request: dict[str, Any]) -> dict[str, Any]:
    """Seconds of CPU for all images, and the matrix."""
    torch.set_num_threads(1)
    truths, answers = (np.load(request[name], mmap_mode="r") for name in ("truths", "answers"))
    metric = MulticlassConfusionMatrix(
        request["classes"], ignore_index=VOID, validate_args=request["validate"], sync_on_compute=False
    )
    pairs = [(torch.from_numpy(a.copy()), torch.from_numpy(t.copy())) for t, a in zip(truths, answers, strict=True)]
    start = time.process_time()
    for i in range(request["pictures"]):
        answer, truth = pairs[i % len(pairs)]
        metric.update(answer, truth)
    taken = time.process_time() - start
    return {"seconds": taken, "matrix": metric.compute().tolist()}


serve(work)
