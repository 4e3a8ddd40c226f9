"""A video from file to file: frames a second with decoding, network, drawing and H.264, and how full the cores are.

    python -m benchmarks.video ../shared/data/video/one-by-one-person-detection.mp4 --bf16

The network is lite320 with random weights for 20 classes: its time does not depend on what it knows. What it sees does
not either: each frame gets so many made-up boxes (`--boxes 0,5,50,200`), which are drawn and encoded, after the
network's own answer went through postprocessing. Printed are frames/s, the stages' times, and the wall time over (the
stages' CPU time / cores), which is 1.0 where no core is ever idle.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.timing import machine
from singleshot.detection.ssd import SSD, config_for
from singleshot.prediction.backends.host import cores
from singleshot.prediction.choosing import Choice
from singleshot.prediction.frames import ImageResult
from singleshot.prediction.predictor import BATCH_SIZE, Detector
from singleshot.prediction.stages import Pipeline, Times, table
from singleshot.prediction.stream import StreamOptions, pipeline, results
from singleshot.prediction.video_reader import VideoReader
from singleshot.prediction.video_writer import VideoWriter
from singleshot.structures import Detections, LabelMap

CLASSES = tuple(f"class {place}" for place in range(20))


@dataclass(frozen=True)
class MadeUpBoxes(Choice):
    """A choice that replaces the detections by so many made-up ones, after all was computed."""

    boxes: int = 0

    def kept(self, found: Detections) -> Detections:
        """The made-up detections."""
        height, width = found.size_hw
        rng = np.random.default_rng(self.boxes)
        low = rng.uniform(0, 0.8, (self.boxes, 2)) * [width, height]
        high = low + rng.uniform(0.05, 0.2, (self.boxes, 2)) * [width, height]
        class_ids = rng.integers(0, len(CLASSES), self.boxes)
        scores = np.sort(rng.uniform(0.5, 1, self.boxes))[::-1].astype(np.float32)
        names = LabelMap(CLASSES).names_of(class_ids)
        return Detections(np.hstack([low, high]).astype(np.float32), scores, class_ids, names, found.size_hw)


def measure(
    file: Path, model: Detector, options: StreamOptions, out: Path, *, most: int
) -> tuple[Pipeline, int, float]:
    """The pipeline that did it, how many frames, and the CPU seconds of the whole process."""
    reader = VideoReader(file, threads=max(1, cores() // 4))
    writer = VideoWriter(out, reader.size_hw, rate=reader.rate, sound_from=file, threads=max(1, cores() // 2))
    frames = (frame for frame, _ in zip(reader, range(most), strict=False))
    stages, encode, done = pipeline(model, frames, options, moving=True), Times("encode"), 0
    stages.times.append(encode)
    cpu = time.process_time()
    for result in results(stages):
        assert isinstance(result, ImageResult) and result.drawn is not None and result.frame.time is not None
        start, own_cpu = time.perf_counter(), time.thread_time()
        writer.write(result.drawn, result.frame.time, result.frame.duration)
        encode.add(time.perf_counter() - start, time.thread_time() - own_cpu, 0.0)
        done += 1
    cpu = time.process_time() - cpu
    reader.close()
    writer.close()
    return stages, done, cpu


def main() -> None:
    """Print a block for each number of boxes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--flavour", default="lite320")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--boxes", default="0,5,50,200")
    parser.add_argument("--frames", type=int, default=10**9, help="of the file at most")
    parser.add_argument("--chunk", type=int, default=BATCH_SIZE, help="frames that the network sees at once")
    given = parser.parse_args()
    torch.manual_seed(0)
    cv2.setNumThreads(0)
    network = SSD(config_for(given.flavour, CLASSES)).eval()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = Detector(network.to(device, memory_format=torch.channels_last), {}, device, given.bf16)  # pyright: ignore
    print(machine("torch", "av", "opencv-python-headless", "numba"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"
        made_up = MadeUpBoxes(np.full(len(CLASSES), 0.5, np.float32))
        options = StreamOptions(made_up, drawing=True, batch_size=given.chunk)
        measure(given.file, model, options, out, most=24)  # compiled code and fonts are loaded
        for boxes in (int(each) for each in given.boxes.split(",")):
            drawn = replace(options, choice=replace(made_up, boxes=boxes))
            run, done, cpu = measure(given.file, model, drawn, out, most=given.frames)
            full = run.wall_s / (max(sum(times.cpu_s for times in run.times), 1e-9) / cores())
            rate = done / run.wall_s
            print(f"\n{boxes} boxes a frame: {done} frames, {rate:.1f} frames/s, wall = {full:.2f} x CPU / cores")
            print("\n".join(table(run, done, cpu, cores())))


if __name__ == "__main__":
    main()
