from __future__ import annotations

import math

import numpy as np
import pytest

from singleshot.streets.objects import (
    BODIES,
    CLASS_NAMES,
    LARGE,
    MASK_NAMES,
    SMALL,
    Body,
    car,
    pedestrian,
    traffic_light,
)
from singleshot.streets.painting import Camera, Light

CAMERA = Camera(focal=300.0, height_m=1.6, centre_x=200.0, horizon_y=120.0)
DAY = Light(((90, 140, 210), (200, 220, 240)), (1.0, 1.0, 1.0), (200.0, 200.0, 200.0), 0.0, 0.0, 0.3, 0.0, 0.0)


def extent_wh(item) -> tuple[float, float]:
    x1, y1, x2, y2 = item.extent_xyxy()
    return x2 - x1, y2 - y1


@pytest.mark.parametrize("body", BODIES)
def test_a_car_has_its_length_from_the_side_and_its_width_from_behind(body: Body) -> None:
    rng = np.random.default_rng(0)
    side, side_height = extent_wh(car(rng, CAMERA, DAY, body, 0.0, 30.0, 0.0))
    behind, _ = extent_wh(car(rng, CAMERA, DAY, body, 0.0, 30.0, math.pi / 2))
    scale = 300 / (30 - body.width / 2)
    assert side == pytest.approx(body.length * scale, rel=0.03)
    assert side_height == pytest.approx(body.height * scale, rel=0.08)
    assert behind == pytest.approx(body.width * 300 / (30 - body.length / 2), rel=0.03)


def test_tail_lamps_appear_from_behind_and_head_lamps_from_the_front() -> None:
    for yaw, shows_red in ((math.pi / 2, True), (-math.pi / 2, False)):
        item = car(np.random.default_rng(1), CAMERA, DAY, BODIES[0], 0.0, 10.0, yaw)
        assert any(shape.colour == (228, 36, 34) for shape in item.shapes) is shows_red


def test_a_pedestrian_is_upright_and_has_the_given_height() -> None:
    rng = np.random.default_rng(2)
    for _ in range(30):
        width, height = extent_wh(pedestrian(rng, CAMERA, DAY, 1.7, 0.0, 10.0))
        assert 51 * 0.99 <= height <= 51 * 1.03  # 1.7 m at 30 pixels a metre; a hat adds a little
        assert width < 0.65 * height


@pytest.mark.parametrize("horizontal", [False, True])
def test_one_of_three_lamps_is_lit_and_red_is_first(horizontal: bool) -> None:
    for seed in range(12):
        light = traffic_light(np.random.default_rng(seed), CAMERA, DAY, 1.0, 3.0, 0.0, 6.0, horizontal=horizontal)
        width, height = extent_wh(light)
        assert (width > height) is horizontal
        (halo,) = light.halos
        x1, y1, x2, y2 = light.extent_xyxy()
        position = (halo.x - x1) / (x2 - x1) if horizontal else (halo.y - y1) / (y2 - y1)
        red, green = halo.colour[0] > 250 and halo.colour[1] < 100, halo.colour[0] < 100
        assert (position < 0.35) is red and (position > 0.65) is green


def test_lookalikes_have_no_class() -> None:
    rng = np.random.default_rng(3)
    for lookalike in (*SMALL, *LARGE):
        for x_m in (-2.0, 2.0):
            item = lookalike(rng, CAMERA, DAY, x_m, 12.0)
            assert item.class_id is None and MASK_NAMES[item.label] not in CLASS_NAMES
            assert item.shapes
