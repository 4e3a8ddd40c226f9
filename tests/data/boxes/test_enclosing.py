from __future__ import annotations

import math

import numpy as np
import pytest

from singleshot.data.boxes import enclosing


@pytest.mark.parametrize("degrees", [0.0, 10.0, 90.0, 135.0, 180.0, 359.0, -30.0])
def test_the_box_around_an_ellipse_touches_its_outermost_points(degrees: float) -> None:
    angles = np.linspace(0, 2 * math.pi, 100_001)
    turn = math.radians(degrees)
    x, y = 7 * np.cos(angles), 3 * np.sin(angles)
    xs, ys = 20 + x * math.cos(turn) - y * math.sin(turn), 30 + x * math.sin(turn) + y * math.cos(turn)
    expected = (xs.min(), ys.min(), xs.max(), ys.max())
    np.testing.assert_allclose(enclosing.of_ellipse(20.0, 30.0, 7.0, 3.0, degrees), expected, atol=1e-6)


def test_a_rectangle_turned_by_a_whole_turn_is_itself_and_by_45_degrees_its_diagonal() -> None:
    assert enclosing.of_rectangle((1.0, 2.0, 5.0, 4.0), 720.0) == (1, 2, 5, 4)
    side = math.sqrt(2)
    np.testing.assert_allclose(enclosing.of_rectangle((-1.0, -1.0, 1.0, 1.0), 45.0), (-side, -side, side, side))
    np.testing.assert_allclose(
        enclosing.of_rectangle((0.0, 0.0, 4.0, 2.0), 90.0, (0.0, 0.0)), (-2, 0, 0, 4), atol=1e-12
    )
