"""Rows F27 and F28 of the fault matrix: starting workers beside busy threads, and few file descriptors."""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.data import read
from singleshot.data.load.loader import EvalDetection, Loader, LoaderOptions
from singleshot.preprocess import Preprocess
from singleshot.structures import BoxTargets, Dataset


def loader(dataset: Dataset, workers: int, batch_size: int) -> Loader[BoxTargets]:
    preprocess = Preprocess(size_hw=(64, 64), mean_rgb=(0.0, 0.0, 0.0), fit="letterbox")
    return Loader(dataset, EvalDetection(preprocess), LoaderOptions(batch_size, workers=workers))


@pytest.fixture
def pictures(standing_squares: Path) -> Dataset:
    return read.read(standing_squares, "train")


@contextmanager
def alarm(seconds: int) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimeoutError(f"hangs for {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
def test_f27_workers_start_beside_busy_threads_of_opencv_again_and_again(pictures: Dataset) -> None:
    busy = threading.Event()
    image = np.zeros((400, 400, 3), np.uint8)

    def blur() -> None:
        while not busy.is_set():
            cv2.GaussianBlur(image, (31, 31), 0)

    thread = threading.Thread(target=blur)
    thread.start()
    try:
        for _ in range(5):
            with alarm(60), loader(pictures, 1, 2) as some:
                assert sum(len(batch) for batch in some.epoch(0)) == len(pictures)
    finally:
        busy.set()
        thread.join()


@pytest.mark.slow
def test_f28_ten_thousand_images_need_no_more_than_256_file_descriptors(pictures: Dataset) -> None:
    samples = tuple(pictures.samples) * (10_000 // len(pictures))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with loader(replace(pictures, samples=samples), 1, 100) as some:
            assert sum(len(batch) for batch in some.epoch(0)) == 10_000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
