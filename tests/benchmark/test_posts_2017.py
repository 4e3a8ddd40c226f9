from __future__ import annotations

from singleshot.benchmark.posts_2017 import MACHINES


def test_the_three_machines_have_the_posts_times() -> None:
    ti, p2, p3 = (each.epoch_seconds for each in MACHINES)
    assert ti == {"vgg300": 11 * 60 + 38, "vgg512": 28 * 60 + 9, "kitti": 16, "cityscapes": 9 * 60 + 22}
    assert p2 == {"vgg300": 46 * 60 + 39, "vgg512": 109 * 60 + 5, "kitti": 50, "cityscapes": 20 * 60 + 31}
    assert p3 == {"vgg300": 8 * 60 + 15, "vgg512": 20 * 60 + 10, "kitti": None, "cityscapes": 13 * 60 + 1}
    assert MACHINES[2].reasons == {"kitti": "CUDA bug"}
