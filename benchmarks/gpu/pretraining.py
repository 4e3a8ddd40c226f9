"""Stage 4: `singleshot pretrain` for the minutes that are left, on a small copy of a pool of images.

    python -m benchmarks.pool_copy ../shared/data/pool pool224
    python -m benchmarks.gpu_suite --minutes 6 --pool pool224 --out runs/gpu

The backbone is OUT/backbone.safetensors, for `singleshot train --weights`; its log lies beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial

from benchmarks.gpu.rows import Check, NotRunError, Place, Row, measured
from singleshot.errors import ConfigError
from singleshot.pretraining.distillation import PretrainConfig
from singleshot.pretraining.pretrain import pretrain
from singleshot.pretraining.teachers import load_teacher

END_S = 10.0
"""Kept for the last save."""


def checks(place: Place) -> Iterable[Check]:
    """The one run."""
    yield Check("pre-training", partial(_pretrain, place))


def _pretrain(place: Place) -> Iterable[Row]:
    if place.pool is None:
        raise NotRunError("no images: give --pool (python -m benchmarks.pool_copy makes a small copy)")
    try:
        load_teacher("lite0", place.teacher_file)
    except ConfigError as error:
        raise NotRunError(f"no teacher: {error}") from error
    config = PretrainConfig(size=64, batch_size=4, steps=3, warmup_steps=1)
    if place.cuda:
        config = PretrainConfig(minutes=max(place.seconds - END_S, 10.0) / 60)
    workers = max(1, min(16, (os.cpu_count() or 2) - 1)) if place.cuda else 0
    out = place.out / "backbone.safetensors"
    found = pretrain(place.pool, out=out, config=config, teacher_file=place.teacher_file, workers=workers)
    rate = found.steps * config.batch_size / max(found.seconds, 1e-9)
    yield measured("pre-training: crops", rate, "images/s", f"{found.steps} steps in {found.seconds:.0f} s")
    if found.probe is not None:
        yield measured("pre-training: probe, R²", found.probe[1], "", f"{found.probe[0]:.3f} at the start")
