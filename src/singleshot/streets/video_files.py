"""Drawn street videos as files: an mp4 (or a folder of PNG frames) and a line of JSON for every frame.

    video_000.mp4       or video_000/000000.png, …
    video_000.jsonl     {"frame": 0, "time_s": 0.0, "objects": [{"track_id", "class", "class_id", "box_xyxy",
                        "occlusion", "truncated", "ignore"}, …]}, a line for every frame, also for empty ones
    streets_video.json  seed, size, frames a second, class names and the list of videos

Boxes are continuous pixels. The mp4 is lossy, as a camera's is, and has even sides: an odd one grows by a pixel, its
last row or column once more. The frames as PNG are exact.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from singleshot.data.whole_folder import whole_folder
from singleshot.errors import ConfigError, UsageError
from singleshot.streets.traffic import CLASS_NAMES
from singleshot.streets.video import Frame, frames

MANIFEST = "streets_video.json"
Container = Literal["mp4", "png"]


def make_videos(
    out: Path,
    *,
    seed: int = 0,
    videos: int = 1,
    count: int = 125,
    fps: float = 12.5,
    size_hw: tuple[int, int] = (300, 400),
    container: Container | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> Path:
    """Draw videos with known tracks.

    Args:
        out: the new folder. It may exist if it is empty.
        seed: 0 or more.
        videos: how many.
        count: frames of each.
        fps: frames a second.
        size_hw: of the frames, 64 to 2048.
        container: None takes `mp4` where PyAV is installed and `png` elsewhere.
        on_frame: called with the number of frames that are done.

    Raises:
        UsageError: a number is out of range.
        ConfigError: `mp4` is asked for and PyAV is not installed.
        CannotCreateError, NotPermittedError, StorageError: as `whole_folder`; nothing is left behind.
    """
    if seed < 0 or videos < 1 or count < 1 or not 0 < fps <= 1000:
        what = f"seed {seed}, {videos} videos of {count} frames at {fps:g} a second"
        raise UsageError(what, remedy="Give a seed of 0 or more and 1 or more of the others")
    if not (min(size_hw) >= 64 and max(size_hw) <= 2048):
        raise UsageError(f"frames of {size_hw[0]}×{size_hw[1]}", remedy="Give a height and a width of 64 to 2048")
    chosen = container or ("mp4" if _has_av() else "png")
    if chosen == "mp4" and not _has_av():
        raise ConfigError("PyAV is not installed", remedy="pip install 'singleshot[video]', or choose png")
    write = _write_mp4 if chosen == "mp4" else _write_pngs
    listed = []
    with whole_folder(out) as folder:
        for number in range(videos):
            name = f"video_{number:03d}"
            lines: list[str] = []
            drawn = _noted(frames(seed, number, count=count, fps=fps, size_hw=size_hw), lines, fps)
            target = folder / (f"{name}.mp4" if chosen == "mp4" else name)
            for done in write(target, drawn, fps, size_hw):
                if on_frame is not None:
                    on_frame(number * count + done)
            (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
            listed.append({"video": target.name, "tracks": f"{name}.jsonl", "frames": count})
        facts = {"version": 1, "seed": seed, "size_hw": list(size_hw), "fps": fps, "classes": list(CLASS_NAMES)}
        text = json.dumps({**facts, "videos": listed}, indent=2)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return out


def as_json(frame: Frame, index: int, fps: float) -> dict[str, Any]:
    """The truth about a frame as a line of the JSON lines file holds it."""
    rows = zip(
        frame.track_ids.tolist(),
        frame.class_ids.tolist(),
        frame.boxes_xyxy.tolist(),
        frame.occlusion.tolist(),
        frame.truncated.tolist(),
        frame.ignore.tolist(),
        strict=True,
    )
    objects = [
        {
            "track_id": track,
            "class": CLASS_NAMES[class_id],
            "class_id": class_id,
            "box_xyxy": box,
            "occlusion": round(occlusion, 4),
            "truncated": truncated,
            "ignore": ignore,
        }
        for track, class_id, box, occlusion, truncated, ignore in rows
    ]
    return {"frame": index, "time_s": round(index / fps, 6), "objects": objects}


def _noted(drawn: Iterator[Frame], lines: list[str], fps: float) -> Iterator[Frame]:
    """The frames as they come; the line of each is added to `lines`."""
    for index, frame in enumerate(drawn):
        lines.append(json.dumps(as_json(frame, index, fps)) + "\n")
        yield frame


def _has_av() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def _write_pngs(folder: Path, drawn: Iterator[Frame], fps: float, size_hw: tuple[int, int]) -> Iterator[int]:
    """Write each frame into a file; yields how many are done."""
    del fps, size_hw
    folder.mkdir()
    for index, frame in enumerate(drawn):
        data = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))[1]
        (folder / f"{index:06d}.png").write_bytes(data.tobytes())
        yield index + 1


def _write_mp4(file: Path, drawn: Iterator[Frame], fps: float, size_hw: tuple[int, int]) -> Iterator[int]:
    """Encode the frames as H.264, or as MPEG-4 where PyAV was built without it; yields how many are done."""
    from fractions import Fraction

    import av

    height, width = size_hw[0] + size_hw[0] % 2, size_hw[1] + size_hw[1] % 2
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # Equal frames shall give equal bytes: one thread, and none of x264's assembler, whose answer for a width that
        # is no multiple of 16 was seen to change from run to run. It costs some 30 ms for a frame of 300×400.
        stream.thread_count = 1
        stream.options = {"crf": "18", "x264-params": "asm=0"} if codec == "libx264" else {"qscale": "3"}
        for index, frame in enumerate(drawn):
            borders = (0, height - size_hw[0], 0, width - size_hw[1])
            even = cv2.copyMakeBorder(frame.image, *borders, borderType=cv2.BORDER_REPLICATE)
            planes = np.asarray(cv2.cvtColor(even, cv2.COLOR_RGB2YUV_I420), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
            yield index + 1
        container.mux(stream.encode(None))
