"""Workloads so small that a test can run them."""

from __future__ import annotations

import pytest

from singleshot.benchmark.results import Report, Result
from singleshot.benchmark.workloads import Workload

NAMES = ("car", "person", "bottle")


@pytest.fixture
def tiny() -> Workload:
    return Workload("tiny", "lite320-fine", (64, 96), 2, 40, 6, (96, 128), "jpg", NAMES)


@pytest.fixture
def tiny_pixels() -> Workload:
    return Workload("pixels", "fcn8s-fine", (64, 96), 2, 12, 4, (96, 128), "png", ("background", "road"))


@pytest.fixture
def measured() -> Result:
    return Result(
        8,
        "parallel",
        images_per_second=5.0,
        epoch_seconds=5340.0,
        training_seconds=5280.0,
        loader_images_per_second=300.0,
        network_images_per_second=5.1,
        verdict="network-bound",
        waiting_share=0.01,
        precision="bf16",
        steps=12,
        measured_seconds=19.2,
        data="drawn",
        noise=0.02,
    )


@pytest.fixture
def ours(measured: Result) -> Report:
    machine = {"cpu": "EPYC", "cores": 2, "gpu": None, "precision": "bf16", "data_disk": "ext4 on /dev/vda"}
    return Report(machine, {"vgg300": measured, "vgg512": Result(8, "parallel", error="out of memory")})
