"""The three machines of the 2017 post, so that anyone's machine stands beside them.

One epoch with its validation pass, TensorFlow 1.4, CUDA 9, as the author of ljanyst/ssd-tensorflow published them in
November 2017. His segmenters prepared their pictures one after the other in the main thread, so their columns are
partly the processors' (`--loader serial` does that again).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Column:
    """One machine of a report.

    Args:
        name: short.
        what: its parts.
        epoch_seconds: by workload; None where it failed.
        reasons: why, for those that failed.
        images_per_second: by workload, as far as known.
        verdicts: by workload, as far as known.
    """

    name: str
    what: str
    epoch_seconds: Mapping[str, float | None]
    reasons: Mapping[str, str] = field(default_factory=dict)
    images_per_second: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)


MACHINES = (
    Column(
        "ti",
        "2017: GTX 1080 Ti, i7-6600U, SSD disk",
        {"vgg300": 698.0, "vgg512": 1689.0, "kitti": 16.0, "cityscapes": 562.0},
    ),
    Column(
        "p2",
        "2017: K80, E5-2686, RAM disk",
        {"vgg300": 2799.0, "vgg512": 6545.0, "kitti": 50.0, "cityscapes": 1231.0},
    ),
    Column(
        "p3",
        "2017: V100, RAM disk",
        {"vgg300": 495.0, "vgg512": 1210.0, "kitti": None, "cityscapes": 781.0},
        {"kitti": "CUDA bug"},
    ),
)
