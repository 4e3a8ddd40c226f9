from __future__ import annotations

import numpy as np
import pytest

from singleshot.streets.painting import Halo
from singleshot.streets.weather import WEATHERS, develop, random_light


def test_lights_differ_and_keep_their_ranges() -> None:
    lights = [random_light(np.random.default_rng(seed)) for seed in range(200)]
    assert len(WEATHERS) == 6
    for light in lights:
        assert 0 <= light.glow <= 1 and 0 <= light.shadow <= 1 and -1 <= light.sun <= 1 and 0 <= light.rain <= 1
    for share in (
        np.mean([max(light.tint) < 0.75 for light in lights]),  # night
        np.mean([light.fog_density > 0.015 for light in lights]),  # fog
        np.mean([light.rain > 0 for light in lights]),
        np.mean([light.shadow > 0.3 for light in lights]),  # hard sun
    ):
        assert 0.04 < share < 0.5


@pytest.mark.parametrize("size_hw", [(64, 64), (300, 400), (900, 1400)])
def test_developing_keeps_the_size_and_changes_the_image_slightly(size_hw: tuple[int, int]) -> None:
    painting = np.full((*size_hw, 3), 120, np.uint8)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        image = develop(painting.copy(), rng, random_light(rng), [], size_hw[0] * 0.45)
        assert image.shape == painting.shape and image.dtype == np.uint8
        assert 40 < image.mean() < 220 and image.std() > 0.5


def test_a_halo_brightens_its_surroundings_unless_it_is_outside() -> None:
    light = random_light(np.random.default_rng(1))
    painting = np.full((100, 100, 3), 60, np.uint8)

    def developed(*halos: Halo) -> np.ndarray:
        return develop(painting.copy(), np.random.default_rng(5), light, halos, 45.0).astype(int)

    plain = developed()
    shone = developed(Halo(30.0, 30.0, 8.0, (255, 60, 40))) - plain
    assert shone[30, 30, 0] > 20 and shone[30, 30, 0] > shone[30, 30, 2]
    assert abs(shone[90, 90]).max() == 0
    assert (developed(Halo(-400.0, 30.0, 8.0, (255, 60, 40))) == plain).all()
