"""A drawn street in motion: frames in which cars drive and people walk, and the truth about every track.

The camera stands still. Cars keep their lanes and their distance, people keep to their line, so that everybody enters
and leaves the picture, passes behind others and comes out again; traffic lights stay. Each road user is one track with
one number from its first frame to its last. What is too hidden, too small or too large to be asked of a detector is
in the truth too, marked to be ignored: a judge of tracking needs to know that it is still there.

Everything comes from (seed, video, frame, size): equal ones give equal pixels, and any frame can be drawn alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from singleshot.streets import scene
from singleshot.streets.painting import Item
from singleshot.streets.plan import MIN_INSIDE, Plan, empty_street, place_scenery, place_traffic_light, share_inside
from singleshot.streets.traffic import BODIES, car, pedestrian

_ADDRESS = 3  # of videos among the addresses of drawings; 0 to 2 are the splits of single scenes
_LEAST_INSIDE = 0.05
_NEAREST_M = 2.0


@dataclass(frozen=True)
class Frame:
    """One frame and the truth about it.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes_xyxy: (N, 4) whole pixels, around what can be seen of each object. N may be 0.
        class_ids: (N,) places in `street_traffic.CLASS_NAMES`.
        track_ids: (N,) the object's number, the same in all frames of the video.
        occlusion: (N,) share of the object's area in the picture that something nearer hides, 0 to below 1.
        truncated: (N,) whether the edge of the picture cuts it off.
        ignore: (N,) whether it is too hidden, too small, too large or too far out of the picture to be judged.
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
    """Somebody who moves in a straight line.

    Args:
        draw: makes the item at (x, z) metres.
        start: (x, z) at time 0.
        velocity: metres a second in x and z.
        half_depth_m: how far it reaches towards the camera.
    """

    draw: Callable[[float, float], Item]
    start: tuple[float, float]
    velocity: tuple[float, float]
    half_depth_m: float

    def at(self, time_s: float) -> Item | None:
        """The item at that time, None where it is too near to the camera or behind it."""
        x, z = (place + speed * time_s for place, speed in zip(self.start, self.velocity, strict=True))
        return self.draw(x, z) if z - self.half_depth_m > _NEAREST_M else None


def frames(
    seed: int, number: int, *, count: int, fps: float = 12.5, size_hw: tuple[int, int] = (300, 400)
) -> Iterator[Frame]:
    """The frames of video `number`, one after another.

    Args:
        seed: of the data set, 0 or more.
        number: of the video, from 0.
        count: how many frames.
        fps: frames a second: how far things move from one to the next.
        size_hw: of the frames.
    """
    rng = np.random.default_rng((seed, _ADDRESS, number))
    plan = empty_street(rng, size_hw)
    duration_s = count / fps
    users = _traffic(rng, plan, duration_s)
    lights = _traffic_lights(rng, plan)
    for _ in range(int(rng.integers(2, 6))):
        place_scenery(rng, plan)
    look = int(rng.integers(1 << 31))
    for index in range(count):
        yield _frame(plan, users, lights, index / fps, look, (seed, _ADDRESS, number, index))


def _frame(
    plan: Plan,
    users: list[_RoadUser],
    lights: list[tuple[Item, list[Item]]],
    time_s: float,
    look: int,
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
    seen, ids = scene.look(now)
    rng, frame_rng = np.random.default_rng(look), np.random.default_rng(address)
    image, _ = scene.paint(rng, now, ids, frame_rng)
    shown = [place for place, sight in enumerate(seen) if sight is not None]
    sights = [sight for sight in seen if sight is not None]
    inside = np.array([share_inside(objects[place][0], plan.size_hw) for place in shown])
    fit = np.array([sight.fit for sight in sights], np.bool_)
    return Frame(
        image,
        np.array([sight.box_xyxy for sight in sights], np.float32).reshape(-1, 4),
        np.array([objects[place][0].class_id for place in shown], np.int64),
        np.array([tracks[place] for place in shown], np.int64),
        np.array([sight.occlusion for sight in sights], np.float32),
        np.array([sight.truncated for sight in sights], np.bool_),
        ~fit | (inside < MIN_INSIDE),
    )


def _traffic(rng: np.random.Generator, plan: Plan, duration_s: float) -> list[_RoadUser]:
    """Everybody who is in view at some time, as streams along the lanes and the pavements."""
    street, camera = plan.street, plan.camera
    users: list[_RoadUser] = []
    wide = plan.size_hw[1] / camera.focal  # of the picture, a metre away
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
    """A line of people who walk one way."""
    street, speed = plan.street, way * rng.uniform(0.8, 1.7)
    if street.along:
        edge = rng.uniform(0.4, street.pavement - 0.3)
        x = street.road[0] - edge if rng.random() < 0.5 else street.road[1] + edge
        places = [(x, z) for z in _stream(rng, speed, duration_s, (4.0, 30.0), (5.0, 16.0))]
        velocity = (0.0, speed)
    else:
        z = rng.uniform(street.road[1] + 0.6, street.far - 0.6)
        half = wide * z * 0.75
        places = [(x, z) for x in _stream(rng, speed, duration_s, (-half, half), (3.0, 12.0))]
        velocity = (speed, 0.0)
    return [_person(rng, plan, place, velocity) for place in places]


def _stream(
    rng: np.random.Generator, speed: float, duration_s: float, view: tuple[float, float], gaps: tuple[float, float]
) -> list[float]:
    """Places at time 0 of all who are in view between then and the end, at random distances from each other."""
    travelled = speed * duration_s
    low, high = view[0] - max(travelled, 0.0), view[1] - min(travelled, 0.0)
    places, at = [], low + rng.uniform(0, gaps[1])
    while at < high:
        places.append(float(at))
        at += rng.uniform(*gaps)
    return places


def _car(
    rng: np.random.Generator, plan: Plan, start: tuple[float, float], velocity: tuple[float, float], yaw: float
) -> _RoadUser:
    body, looks = BODIES[int(rng.integers(len(BODIES)))], int(rng.integers(1 << 31))

    def draw(x: float, z: float) -> Item:
        return car(np.random.default_rng(looks), plan.camera, plan.light, body, x, z, yaw)

    return _RoadUser(draw, start, velocity, body.length / 2 if velocity[1] else body.width / 2)


def _person(
    rng: np.random.Generator, plan: Plan, start: tuple[float, float], velocity: tuple[float, float]
) -> _RoadUser:
    height, looks = rng.uniform(1.5, 1.92), int(rng.integers(1 << 31))

    def draw(x: float, z: float) -> Item:
        return pedestrian(np.random.default_rng(looks), plan.camera, plan.light, height, x, z)

    return _RoadUser(draw, start, velocity, 0.3)


def _traffic_lights(rng: np.random.Generator, plan: Plan) -> list[tuple[Item, list[Item]]]:
    found = []
    for _ in range(int(rng.integers(1, 4))):
        posts: list[Item] = []
        item = place_traffic_light(rng, plan, posts)
        if item is not None:
            found.append((item, posts))
    return found
