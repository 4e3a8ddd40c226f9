"""Time of day and weather of a drawn street, and the effects of the camera.

`random_light` chooses the colours of the light before anything is painted; `develop` adds to the finished painting:
halos, reflections, rain, exposure, blur and sensor noise. None of these moves anything, so boxes stay exact.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from singleshot.streets.painting import Halo, Light, noise_tile

WEATHERS = ("clear", "overcast", "dusk", "night", "fog", "rain")
_SHARES = (0.3, 0.15, 0.18, 0.16, 0.1, 0.11)


def random_light(rng: np.random.Generator) -> Light:
    """Draw a time of day and a weather."""
    weather = WEATHERS[int(rng.choice(len(WEATHERS), p=_SHARES))]
    sun, warm = rng.uniform(-1, 1), rng.uniform(0, 1)
    if weather == "clear":
        sky = ((70 + 30 * warm, 140, 214 - 20 * warm), (206, 224, 236))
        shadow = rng.uniform(0.35, 0.6)
        return Light(sky, (1.0, 0.98 - 0.03 * warm, 0.95 - 0.1 * warm), (206, 220, 232), 0.003, 0.0, shadow, sun, 0.0)
    if weather == "overcast":
        return Light(((150, 160, 172), (208, 212, 214)), (0.84, 0.87, 0.9), (198, 204, 210), 0.006, 0.0, 0.12, sun, 0.0)
    if weather == "dusk":
        sky = ((74, 66 + 20 * warm, 122), (250, 166 + 20 * warm, 112 - 20 * warm))
        tint = (0.86, 0.66 + 0.05 * warm, 0.6)
        return Light(sky, tint, (222, 156, 124), 0.005, rng.uniform(0.3, 0.6), rng.uniform(0.1, 0.4), sun, 0.0)
    if weather == "night":
        dim = rng.uniform(1.0, 1.35)
        sky = ((12, 16, 40), (44 + 14 * warm, 46, 76))
        rain = rng.uniform(0.3, 0.8) if rng.random() < 0.25 else 0.0
        return Light(sky, (0.4 * dim, 0.4 * dim, 0.52 * dim), (44, 48, 74), 0.004, 1.0, 0.1, sun, rain)
    if weather == "fog":
        grey = (196 - 20 * warm, 200 - 14 * warm, 204 - 6 * warm)
        return Light((grey, grey), (0.88, 0.89, 0.9), grey, rng.uniform(0.018, 0.034), 0.35, 0.05, sun, 0.0)
    sky = ((112, 122, 136), (168, 176, 184))
    return Light(sky, (0.75, 0.79, 0.85), (160, 168, 178), 0.011, rng.uniform(0.2, 0.5), 0.05, sun, rng.uniform(0.4, 1))


def develop(
    image: UInt8[ndarray, "H W 3"],
    rng: np.random.Generator,
    light: Light,
    halos: Iterable[Halo],
    horizon_y: float,
    frame_rng: np.random.Generator | None = None,
) -> UInt8[ndarray, "H W 3"]:
    """Return the photograph of a painting that was made in that light; the painting is overwritten.

    In a video, `rng` draws what stays and `frame_rng` what differs in each frame: the rain and the noise.
    """
    for halo in halos:
        _shine(image, halo, 0.25 + 0.6 * light.glow)
    if light.rain:
        # The ground is wet: it reflects what is above the horizon, faint and blurred.
        above, below = image[: round(horizon_y)], image[round(horizon_y) :]
        mirrored = cv2.flip(cv2.resize(above, (image.shape[1] // 4, image.shape[0] // 16)), 0)
        mirrored = cv2.resize(cv2.blur(mirrored, (3, 3)), below.shape[1::-1])
        below[:] = cv2.addWeighted(below, 0.84, mirrored, 0.22, 0)
    if light.shadow > 0.3 and rng.random() < 0.3:
        _shadow_from_behind_the_camera(image, rng)
    unit = image.shape[0] / 300
    lens = rng.random()
    if lens < 0.18:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.45, 0.95) * unit)
    elif lens < 0.28:
        length = int(rng.integers(3, 6))
        image = cv2.blur(image, (length, 1) if rng.random() < 0.7 else (1, length))
    if light.rain:
        _streaks(image, frame_rng or rng, light, unit)
    return _sensor(image, rng, light, frame_rng or rng)


def _shine(image: UInt8[ndarray, "H W 3"], halo: Halo, strength: float) -> None:
    radius = max(halo.radius * 1.6, 3.0)
    height, width = image.shape[:2]
    left, top, size = round(halo.x - radius), round(halo.y - radius), round(2 * radius)
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + size, width), min(top + size, height)
    if x1 >= x2 or y1 >= y2:
        return
    rows, columns = np.arange(y1, y2) - top - radius, np.arange(x1, x2) - left - radius
    near = np.exp(-(rows**2) / (0.32 * radius**2))[:, None] * np.exp(-(columns**2) / (0.32 * radius**2))
    glow = near[..., None] * (np.array(halo.colour) * strength * 0.6)
    image[y1:y2, x1:x2] = cv2.add(image[y1:y2, x1:x2], glow.astype(np.uint8))


def _shadow_from_behind_the_camera(image: UInt8[ndarray, "H W 3"], rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    x1, x2 = rng.uniform(-0.2, 0.9, 2) * width
    wide = rng.uniform(0.2, 0.5) * width
    corners = np.array([(x1, height), (x2, height * 0.4), (x2 + wide * 0.6, height * 0.4), (x1 + wide, height)])
    shade = np.full((height // 4 + 1, width // 4 + 1), 255, np.uint8)
    cv2.fillPoly(shade, [(corners / 4).astype(np.int32)], float(rng.uniform(135, 185)))
    shade = cv2.resize(cv2.blur(shade, (3, 3)), (width, height))
    image[:] = cv2.multiply(image, cv2.cvtColor(shade, cv2.COLOR_GRAY2RGB), scale=1 / 255)


def _streaks(image: UInt8[ndarray, "H W 3"], rng: np.random.Generator, light: Light, unit: float) -> None:
    height, width = image.shape[:2]
    count = int(110 * light.rain)
    starts = rng.uniform((0, -10), (width, height), (count, 2))
    fall = np.stack([np.full(count, rng.uniform(-3, 3)), rng.uniform(6, 16, count)], axis=-1) * unit
    lines = np.stack([starts, starts + fall], axis=1).astype(np.int32)
    over = image.copy()
    cv2.polylines(over, list(lines), False, (206, 212, 222) if light.glow < 0.8 else (120, 124, 140), 1, cv2.LINE_AA)
    image[:] = cv2.addWeighted(over, 0.45, image, 0.55, 0)


def _sensor(
    image: UInt8[ndarray, "H W 3"], rng: np.random.Generator, light: Light, frame_rng: np.random.Generator
) -> UInt8[ndarray, "H W 3"]:
    """Apply exposure, colour cast, contrast and noise."""
    gain = 2 ** rng.uniform(-0.35, 0.35) * (1 + rng.uniform(-0.06, 0.06, 3))
    gamma = rng.uniform(0.88, 1.14)
    table = 255 * np.clip((np.arange(256)[:, None] / 255) ** gamma * gain, 0, 1)
    image = cv2.LUT(image, np.rint(table).astype(np.uint8)[None])
    sigma = rng.uniform(1.0, 5.0) + (rng.uniform(2.0, 6.0) if light.glow > 0.8 else 0.0)
    tile = noise_tile()
    height, width = image.shape[:2]
    down, right = int(frame_rng.integers(256)), int(frame_rng.integers(320))
    rows, columns = min(height, 512 - down), min(width, 640 - right)
    noise = cv2.copyMakeBorder(
        tile[down : down + rows, right : right + columns], 0, height - rows, 0, width - columns, cv2.BORDER_REFLECT
    )
    return cv2.addWeighted(image, 1.0, noise, sigma / 32, -128 * sigma / 32)
