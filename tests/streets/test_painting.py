from __future__ import annotations

import math

import numpy as np
import pytest

from singleshot.streets.painting import Camera, Light, Sketch

CAMERA = Camera(focal=300.0, height_m=2.0, centre_x=200.0, horizon_y=120.0)
DAY = Light(((0, 0, 0), (0, 0, 0)), (1.0, 1.0, 1.0), (200.0, 200.0, 200.0), 0.0, 0.0, 0.0, 0.0, 0.0)


def test_a_point_is_projected_as_by_a_pinhole_camera() -> None:
    # 300 / 10 = 30 pixels a metre: 1 m right of 200, 2 m below the lens; half a pixel off for OpenCV, in sixteenths
    assert CAMERA.project(np.array([[1.0, 0.0, 10.0]])).tolist() == [[(230 * 2 - 1) * 8, (180 * 2 - 1) * 8]]
    assert CAMERA.depth_of_row(180.0) == 10.0


def test_an_item_at_twice_the_distance_is_half_as_tall() -> None:
    def height(z_m: float) -> float:
        sketch = Sketch(CAMERA, 0.0, z_m, unit_m=1.8)
        sketch.rectangle(-0.2, 0.0, 0.2, 1.0, (255, 0, 0))
        _, y1, _, y2 = sketch.item(7).extent_xyxy()
        return y2 - y1

    assert height(5.0) == pytest.approx(300 / 5 * 1.8, abs=0.1)
    assert height(10.0) == pytest.approx(height(5.0) / 2, abs=0.1)


def test_a_quarter_turn_makes_the_third_axis_visible() -> None:
    sketch = Sketch(CAMERA, 0.0, 10.0, yaw=math.pi / 2)
    sketch.add(((0.0, 0.0, -1.0), (0.0, 1.0, -1.0), (0.0, 1.0, 1.0), (0.0, 0.0, 1.0)), (255, 0, 0))
    x1, _, x2, _ = sketch.item(7).extent_xyxy()
    assert x2 - x1 == pytest.approx(60.0, abs=0.1)


def test_painting_and_numbering_cover_the_same_pixels() -> None:
    sketch = Sketch(CAMERA, 0.0, 10.0)
    sketch.shadow(2.0, 1.0, 0.5)
    sketch.ellipse(0.0, 1.0, 0.7, 0.9, (255, 0, 0))
    image, ids = np.full((240, 400, 3), 100, np.uint8), np.zeros((240, 400), np.uint8)
    item = sketch.item(7)
    item.paint(image, DAY)
    item.number(ids, 9)
    assert set(np.unique(ids)) == {0, 9}
    full = (image == (255, 0, 0)).all(axis=-1)
    assert (ids[full] == 9).all()
    assert 0.85 < full.sum() / (ids == 9).sum() <= 1  # the rest is the softened rim
    assert (image[(ids == 0) & (image[..., 0] < 100)] < 100).all(axis=-1).any()  # the shadow has no number


def test_fog_fades_colours_with_distance_and_lamps_less() -> None:
    fog = Light(((0, 0, 0), (0, 0, 0)), (0.5, 0.5, 0.5), (200.0, 200.0, 200.0), math.log(2) / 10, 0.0, 0.0, 0.0, 0.0)
    assert fog.shade((100, 0, 0), 0.0) == (50, 0, 0)
    assert fog.shade((100, 0, 0), 10.0) == pytest.approx((125, 100, 100))  # half of 50, half of 200
    assert fog.shade((100, 0, 0), 10.0, emissive=True) == pytest.approx((125, 50, 50))  # a quarter of the fog


def test_a_sketch_without_polygons_covers_no_pixel() -> None:
    ids = np.zeros((20, 20), np.uint8)
    Sketch(CAMERA, 0.0, 5.0).item(1).number(ids, 3)
    assert not ids.any()
