from __future__ import annotations

import cv2
import numpy as np
import pytest

from singleshot.data.check.fingerprints import FINGERPRINT_BYTES, fingerprint, near_copies


def _pairs(fingerprints: list[bytes]) -> np.ndarray:
    return np.concatenate([np.zeros((0, 2), np.int64), *near_copies(fingerprints)])


def _photograph(seed: int, size_hw: tuple[int, int] = (240, 320)) -> np.ndarray:
    """Draw an image with detail at several scales, as a photograph has."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.normal(0, sd, (n, n, 3)).astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_CUBIC)
        for n, sd in ((4, 40), (9, 30), (40, 15))
    ]
    return np.clip(120 + sum(layers), 0, 255).astype(np.uint8)


def _recompressed(image: np.ndarray, quality: int) -> np.ndarray:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1))


COPIES = {
    "same": lambda image: image.copy(),
    "quality-30": lambda image: _recompressed(image, 30),
    "quality-90": lambda image: _recompressed(image, 90),
    "times-0.4": lambda image: cv2.resize(image, None, fx=0.4, fy=0.4),
    "times-1.5": lambda image: cv2.resize(image, None, fx=1.5, fy=1.5),
    "squashed": lambda image: cv2.resize(image, (300, 300)),
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=1.1, beta=15),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "mirrored-and-smaller": lambda image: cv2.resize(np.ascontiguousarray(image[:, ::-1]), (150, 120)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found_for_each_of_twenty_images(kind: str) -> None:
    images = [_photograph(seed) for seed in range(20)]
    found = _pairs([fingerprint(image) for image in [*images, *map(COPIES[kind], images)]])
    assert found.tolist() == [[index, index + 20] for index in range(20)]


def test_different_images_are_no_copies() -> None:
    assert len(_pairs([fingerprint(_photograph(seed)) for seed in range(300)])) == 0


def test_real_different_photographs_are_no_copies(shared) -> None:
    paths = sorted((shared / "data" / "photos").glob("*.jpg"))
    images = [cv2.imread(str(path))[:, :, ::-1] for path in paths]
    found = _pairs([fingerprint(np.ascontiguousarray(image)) for image in images])
    assert len(images) > 3 and len(found) == 0


def test_flat_images_and_drawings_on_one_ground_are_no_copies() -> None:
    flat = [np.full((60, 80, 3), grey, np.uint8) for grey in (0, 128, 128, 255)]
    drawings = []
    for x in range(10, 150, 25):
        drawing = np.full((160, 200, 3), 230, np.uint8)
        cv2.rectangle(drawing, (x, 40), (x + 40, 100), (40, 60, 200), -1)
        drawings.append(drawing)
    assert len(_pairs([fingerprint(image) for image in flat + drawings])) == 0


def test_no_image_and_unread_images_have_no_copies() -> None:
    one = fingerprint(_photograph(1))
    assert len(one) == FINGERPRINT_BYTES
    assert _pairs([]).shape == _pairs([one]).shape == _pairs([b"", b"", one]).shape == (0, 2)


def test_pairs_far_apart_in_a_long_list_are_found() -> None:
    rng = np.random.default_rng(0)
    many = [rng.bytes(FINGERPRINT_BYTES) for _ in range(700)]
    many[0] = many[699] = fingerprint(_photograph(3))
    assert _pairs(many).tolist() == [[0, 699]]


def test_what_a_caller_declines_is_not_compared() -> None:
    rng = np.random.default_rng(0)
    same = [fingerprint(_photograph(3))] * 200 + [rng.bytes(FINGERPRINT_BYTES)]
    assert len(_pairs(same)) == 200 * 199 // 2
    seen = np.zeros(len(same), bool)
    blocks = []
    for pairs in near_copies(same, lambda first, second: ~seen[second]):
        blocks.append(len(pairs))
        seen[pairs[:, 1]] = True
    assert blocks == [199 + 198 + 197 + 196]
