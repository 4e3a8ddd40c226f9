"""Drawn street videos: frames in which cars drive and people walk, the annotation of every track, and their files.

    video_000.mp4       or video_000/000000.png, …
    video_000.jsonl     {"frame": 0, "time_s": 0.0, "objects": [{"track_id", "class", "class_id", "box_xyxy",
                        "occlusion", "truncated", "ignore"}, …]}, a line for every frame, also for empty ones
    streets_video.json  seed, size, frames a second, class names and the list of videos

The camera does not move. Cars keep their lanes and their distance, people keep to their line, so that everybody enters
and leaves the image, passes behind others and comes out again; traffic lights stay. Each road user is one track with
one number from its first frame to its last. What is too hidden, too small or too large to be required of a detector is
annotated too, marked to be ignored: an evaluation of tracking needs to know that it still exists.

Everything comes from (seed, video, frame, size): equal ones give equal pixels, and any frame can be drawn alone.
Boxes are continuous pixels. The mp4 is lossy, as a camera's is, and has even sides: an odd one grows by a pixel, which
repeats its last row or column. The frames as PNG are exact.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from singleshot.errors import ConfigError, UsageError
from singleshot.storage.atomic import new_folder
from singleshot.streets import scene
from singleshot.streets.objects import BODIES, CLASS_NAMES, car, pedestrian
from singleshot.streets.painting import Item
from singleshot.streets.scene import MIN_INSIDE, Plan, empty_street, place_scenery, place_traffic_light, share_inside

_ADDRESS = 3  # of videos among the addresses of drawings; 0 to 2 are the splits of single scenes
_LEAST_INSIDE = 0.05
_NEAREST_M = 2.0


@dataclass(frozen=True)
class Frame:
    """One frame and its annotation.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes_xyxy: (N, 4) whole pixels, around the visible part of each object. N may be 0.
        class_ids: (N,) indices into `objects.CLASS_NAMES`.
        track_ids: (N,) the object's number, the same in all frames of the video.
        occlusion: (N,) share of the object's area in the image that something nearer hides, 0 to below 1.
        truncated: (N,) whether the edge of the image cuts it off.
        ignore: (N,) whether it is too hidden, too small, too large or too far outside the image to be evaluated.
    """

    image: UInt8[ndarray, "H W 3"]
    boxes_xyxy: Float[ndarray, "N 4"]
    class_ids: Int[ndarray, " N"]
    track_ids: Int[ndarray, " N"]
    occlusion: Float[ndarray, " N"]
    truncated: Bool[ndarray, " N"]
    ignore: Bool[ndarray, " N"]


@dataclass(frozen=True)
class _RoadUser:
    """A car or person that moves in a straight line.

    Args:
        draw: makes the item at (x, z) metres.
        start: (x, z) at time 0.
        velocity: metres a second in x and z.
        half_depth_m: how far it extends towards the camera.
    """

    draw: Callable[[float, float], Item]
    start: tuple[float, float]
    velocity: tuple[float, float]
    half_depth_m: float

    def at(self, time_s: float) -> Item | None:
        """Return the item at that time, None where it is too near to the camera or behind it."""
        x, z = (start + speed * time_s for start, speed in zip(self.start, self.velocity, strict=True))
        return self.draw(x, z) if z - self.half_depth_m > _NEAREST_M else None


def frames(
    seed: int, number: int, *, count: int, fps: float = 12.5, size_hw: tuple[int, int] = (300, 400)
) -> Iterator[Frame]:
    """Yield the frames of video `number`.

    Args:
        seed: of the data set, 0 or more.
        number: of the video, from 0.
        count: how many frames.
        fps: frames a second, which determines how far things move from one frame to the next.
        size_hw: of the frames.
    """
    rng = np.random.default_rng((seed, _ADDRESS, number))
    plan = empty_street(rng, size_hw)
    duration_s = count / fps
    users = _traffic(rng, plan, duration_s)
    lights = _traffic_lights(rng, plan)
    for _ in range(int(rng.integers(2, 6))):
        place_scenery(rng, plan)
    appearance_seed = int(rng.integers(1 << 31))
    for index in range(count):
        yield _frame(plan, users, lights, index / fps, appearance_seed, (seed, _ADDRESS, number, index))


def _frame(
    plan: Plan,
    users: list[_RoadUser],
    lights: list[tuple[Item, list[Item]]],
    time_s: float,
    appearance_seed: int,
    address: tuple[int, ...],
) -> Frame:
    present = [(number, user.at(time_s), []) for number, user in enumerate(users)]
    present += [(len(users) + number, item, posts) for number, (item, posts) in enumerate(lights)]
    objects, tracks = [], []
    for number, item, posts in present:
        if item is not None and share_inside(item, plan.size_hw) > _LEAST_INSIDE:
            objects.append((item, posts))
            tracks.append(number)
    now = replace(plan, objects=objects)
    visibilities, ids = scene.visibilities(now)
    rng, frame_rng = np.random.default_rng(appearance_seed), np.random.default_rng(address)
    image, _ = scene.paint(rng, now, ids, frame_rng)
    indices = [index for index, each in enumerate(visibilities) if each is not None]
    visible = [each for each in visibilities if each is not None]
    inside = np.array([share_inside(objects[index][0], plan.size_hw) for index in indices])
    annotated = np.array([each.annotated for each in visible], np.bool_)
    return Frame(
        image,
        np.array([each.box_xyxy for each in visible], np.float32).reshape(-1, 4),
        np.array([objects[index][0].class_id for index in indices], np.int64),
        np.array([tracks[index] for index in indices], np.int64),
        np.array([each.occlusion for each in visible], np.float32),
        np.array([each.truncated for each in visible], np.bool_),
        ~annotated | (inside < MIN_INSIDE),
    )


def _traffic(rng: np.random.Generator, plan: Plan, duration_s: float) -> list[_RoadUser]:
    """Draw everybody who is in view at some time, in streams along the lanes and the pavements."""
    street, camera = plan.street, plan.camera
    users: list[_RoadUser] = []
    wide = plan.size_hw[1] / camera.focal  # of the image, a metre away
    for way in (-1, 1):
        speed = rng.uniform(4.0, 9.0)
        if street.along:
            left, right = street.road
            x = (left + right) / 2 + way * (right - left) * 0.25
            for z in _stream(rng, way * speed, duration_s, (4.0, 45.0), (9.0, 30.0)):
                users.append(_car(rng, plan, (x, z), (0.0, way * speed), way * math.pi / 2))
        else:
            lane = 0.28 if way < 0 else 0.72
            z = street.road[0] + lane * (street.road[1] - street.road[0])
            half = wide * z * 0.75
            for x in _stream(rng, way * speed, duration_s, (-half, half), (9.0, 24.0)):
                users.append(_car(rng, plan, (x, z), (way * speed, 0.0), 0.0 if way > 0 else math.pi))
        for _ in range(2):
            users += _walkers(rng, plan, way, duration_s, wide)
    return users


def _walkers(rng: np.random.Generator, plan: Plan, way: int, duration_s: float, wide: float) -> list[_RoadUser]:
    """Draw a line of people who walk one way."""
    street, speed = plan.street, way * rng.uniform(0.8, 1.7)
    if street.along:
        edge = rng.uniform(0.4, street.pavement - 0.3)
        x = street.road[0] - edge if rng.random() < 0.5 else street.road[1] + edge
        starts = [(x, z) for z in _stream(rng, speed, duration_s, (4.0, 30.0), (5.0, 16.0))]
        velocity = (0.0, speed)
    else:
        z = rng.uniform(street.road[1] + 0.6, street.far - 0.6)
        half = wide * z * 0.75
        starts = [(x, z) for x in _stream(rng, speed, duration_s, (-half, half), (3.0, 12.0))]
        velocity = (speed, 0.0)
    return [_person(rng, plan, start, velocity) for start in starts]


def _stream(
    rng: np.random.Generator, speed: float, duration_s: float, view: tuple[float, float], gaps: tuple[float, float]
) -> list[float]:
    """Draw the positions at time 0 of all who come into view by the end, at random distances from each other."""
    travelled = speed * duration_s
    low, high = view[0] - max(travelled, 0.0), view[1] - min(travelled, 0.0)
    positions, position = [], low + rng.uniform(0, gaps[1])
    while position < high:
        positions.append(float(position))
        position += rng.uniform(*gaps)
    return positions


def _car(
    rng: np.random.Generator, plan: Plan, start: tuple[float, float], velocity: tuple[float, float], yaw: float
) -> _RoadUser:
    body, appearance = BODIES[int(rng.integers(len(BODIES)))], int(rng.integers(1 << 31))

    def draw(x: float, z: float) -> Item:
        return car(np.random.default_rng(appearance), plan.camera, plan.light, body, x, z, yaw)

    return _RoadUser(draw, start, velocity, body.length / 2 if velocity[1] else body.width / 2)


def _person(
    rng: np.random.Generator, plan: Plan, start: tuple[float, float], velocity: tuple[float, float]
) -> _RoadUser:
    height, appearance = rng.uniform(1.5, 1.92), int(rng.integers(1 << 31))

    def draw(x: float, z: float) -> Item:
        return pedestrian(np.random.default_rng(appearance), plan.camera, plan.light, height, x, z)

    return _RoadUser(draw, start, velocity, 0.3)


def _traffic_lights(rng: np.random.Generator, plan: Plan) -> list[tuple[Item, list[Item]]]:
    found = []
    for _ in range(int(rng.integers(1, 4))):
        item, posts = place_traffic_light(rng, plan)
        if item is not None:
            found.append((item, posts))
    return found


# --- files

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
    """Draw videos with annotated tracks.

    Args:
        out: the new folder. It may exist if it is empty.
        seed: 0 or more.
        videos: how many.
        count: frames of each.
        fps: frames a second.
        size_hw: of the frames, 64 to 2048.
        container: None takes `mp4` where PyAV is installed and `png` elsewhere.
        on_frame: is called with the number of finished frames.

    Raises:
        UsageError: a number is out of range.
        ConfigError: `mp4` is requested and PyAV is not installed.
        CannotCreateError, NotPermittedError, StorageError: as `new_folder`; nothing is left behind.
    """
    if seed < 0 or videos < 1 or count < 1 or not 0 < fps <= 1000:
        message = f"seed {seed}, {videos} videos of {count} frames at {fps:g} a second"
        raise UsageError(message, remedy="Give a seed of 0 or more and 1 or more of the others")
    if not (min(size_hw) >= 64 and max(size_hw) <= 2048):
        raise UsageError(f"frames of {size_hw[0]}×{size_hw[1]}", remedy="Give a height and a width of 64 to 2048")
    chosen = container or ("mp4" if _has_av() else "png")
    if chosen == "mp4" and not _has_av():
        raise ConfigError("PyAV is not installed", remedy="pip install 'singleshot[video]', or choose png")
    listed = []
    with new_folder(out) as folder:
        for number in range(videos):
            name = f"video_{number:03d}"
            target, lines = folder / (f"{name}.mp4" if chosen == "mp4" else name), []
            with _Mp4(target, fps, size_hw) if chosen == "mp4" else _PngFolder(target) as sink:
                for index, frame in enumerate(frames(seed, number, count=count, fps=fps, size_hw=size_hw)):
                    sink.append(frame.image)
                    lines.append(json.dumps(as_json(frame, index, fps)) + "\n")
                    if on_frame is not None:
                        on_frame(number * count + index + 1)
            (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
            listed.append({"video": target.name, "tracks": f"{name}.jsonl", "frames": count})
        facts = {"version": 1, "seed": seed, "size_hw": list(size_hw), "fps": fps, "classes": list(CLASS_NAMES)}
        text = json.dumps({**facts, "videos": listed}, indent=2)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return out


def as_json(frame: Frame, index: int, fps: float) -> dict[str, Any]:
    """Return the annotation of a frame as one object of the JSON lines file."""
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


def _has_av() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


class _PngFolder:
    """A folder of numbered PNG files."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def __enter__(self) -> _PngFolder:
        self._folder.mkdir()
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def append(self, image: UInt8[ndarray, "H W 3"]) -> None:
        data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
        (self._folder / f"{self._count:06d}.png").write_bytes(data.tobytes())
        self._count += 1


class _Mp4:
    """A video in H.264, or in MPEG-4 where PyAV was built without it."""

    def __init__(self, file: Path, fps: float, size_hw: tuple[int, int]) -> None:
        self._file, self._fps, self._size_hw = file, fps, size_hw

    def __enter__(self) -> _Mp4:
        from fractions import Fraction

        import av

        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._container = av.open(str(self._file), "w")
        self._stream = self._container.add_stream(codec, rate=Fraction(self._fps).limit_denominator(1000))
        height, width = (side + side % 2 for side in self._size_hw)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        # Equal frames must give equal bytes: one thread, and no assembler in x264, whose output for a width that is
        # not a multiple of 16 was observed to change from run to run. It costs some 30 ms for a frame of 300×400.
        self._stream.thread_count = 1
        self._stream.options = {"crf": "18", "x264-params": "asm=0"} if codec == "libx264" else {"qscale": "3"}
        return self

    def __exit__(self, error: object, *_more: object) -> None:
        try:
            if error is None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def append(self, image: UInt8[ndarray, "H W 3"]) -> None:
        import av

        height, width = self._size_hw
        even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, borderType=cv2.BORDER_REPLICATE)
        planes = np.asarray(cv2.cvtColor(even, cv2.COLOR_RGB2YUV_I420), np.uint8)
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
