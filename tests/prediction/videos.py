"""Tiny videos for tests, and what is in one."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

SIZE_HW = (48, 64)


def scene(index: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """A frame that differs from all others: its upper left quarter is white, the rest changes."""
    coarse = np.random.default_rng(index).integers(0, 200, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, size_hw[::-1])
    image[: size_hw[0] // 2, : size_hw[1] // 2] = 255
    return np.ascontiguousarray(image)


def make(
    path: Path,
    count: int = 20,
    *,
    size_hw: tuple[int, int] = SIZE_HW,
    times: Sequence[int] | None = None,
    sound: bool = False,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    codec: str = "libx264",
    pixel_aspect: Fraction = Fraction(1),
) -> Path:
    """Write a video of 10 frames a second; `times` are other times, in tenths of a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = size_hw[1], size_hw[0], pix_fmt
        if codec == "libx264":
            stream.options = {"g": "6", "crf": "18"} | (
                {"bf": "0"} if times else {}
            )  # an MP4's duration counts decoding
        stream.codec_context.time_base = Fraction(1, 10)
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        tone = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(scene(index, size_hw), format="rgb24")
            frame.pts, frame.time_base = (times[index] if times else index), Fraction(1, 10)
            container.mux(stream.encode(frame))
            if tone is not None:
                wave = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.float32), format="fltp", layout="mono")
                wave.sample_rate, wave.pts, wave.time_base = 8000, index * 800, Fraction(1, 8000)
                container.mux(tone.encode(wave))
        container.mux(stream.encode(None))
        if tone is not None:
            container.mux(tone.encode(None))
    return path


def facts(path: Path) -> tuple[list[float], float, int]:
    """The times of a video's frames, its duration in seconds, and how many packets of sound it has."""
    with av.open(str(path)) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
        duration = container.duration / 1e6
    with av.open(str(path)) as container:
        packets = sum(1 for packet in container.demux() if packet.stream.type == "audio" and packet.size)
    return times, duration, packets
