from __future__ import annotations

import numpy as np

from singleshot.prediction import kalman


def test_a_box_in_steady_motion_is_foreseen() -> None:
    motion = kalman.begin(np.array([[100.0, 50.0, 20.0, 40.0]]))
    for step in range(1, 31):
        motion = kalman.ahead(motion, np.array([True]))
        motion = kalman.corrected(motion, np.array([[100.0 + 3 * step, 50.0 - step, 20.0, 40.0]]))
    ahead = kalman.ahead(motion, np.array([True])).means[0]
    np.testing.assert_allclose(ahead[:4], [100 + 3 * 31, 50 - 31, 20, 40], atol=0.5)
    np.testing.assert_allclose(ahead[4:], [3, -1, 0, 0], atol=0.1)


def test_one_step_worked_by_hand() -> None:
    # Height 40: deviations 2·40/20 = 4 and 10·40/160 = 2.5 at first; a step adds 40/20 = 2 and 40/160 = 0.25.
    motion = kalman.ahead(kalman.begin(np.array([[0.0, 0.0, 20.0, 40.0]])), np.array([True]))
    variance = 4**2 + 2.5**2 + 2**2
    np.testing.assert_allclose(motion.covariances[0, 0, 0], variance)
    np.testing.assert_allclose(motion.covariances[0, 4, 4], 2.5**2 + 0.25**2)
    seen = kalman.corrected(motion, np.array([[10.0, 0.0, 20.0, 40.0]]))
    # The measurement's deviation is 2 too: the gain is P / (P + R).
    np.testing.assert_allclose(seen.means[0, 0], 10 * variance / (variance + 4))
    np.testing.assert_allclose(seen.means[0, 4], 10 * 2.5**2 / (variance + 4))


def test_what_is_out_of_sight_moves_on_and_keeps_its_size() -> None:
    motion = kalman.Motion(np.array([[0.0, 0, 10, 10, 2, 0, 1, 1]]), np.eye(8)[None])
    assert kalman.ahead(motion, np.array([False])).means[0].tolist() == [2, 0, 10, 10, 2, 0, 0, 0]
    assert kalman.ahead(motion, np.array([True])).means[0].tolist() == [2, 0, 11, 11, 2, 0, 1, 1]


def test_no_boxes_are_no_boxes() -> None:
    nothing = kalman.begin(np.zeros((0, 4)))
    assert len(kalman.corrected(kalman.ahead(nothing, np.zeros(0, np.bool_)), np.zeros((0, 4)))) == 0
    assert len(kalman.joined(nothing, kalman.begin(np.ones((2, 4))))) == 2
