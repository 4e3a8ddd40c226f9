"""Images and masks from the disk → augmented pairs, on one core, beside a plain loader of Pillow and numpy.

Both carry out the same drawn plans: crop or enlarge the canvas, brightness, contrast, saturation, hue, resize, mirror.
The plain one is what one writes first: Pillow opens and resizes, numpy adds and multiplies in float32, Pillow's HSV
for hue and saturation. Before any timing, masks must be equal pixel by pixel and images equal but for rounding:
2.5 of 255 on average, because the two resize a little differently and turn hue on other scales. JPEG and PNG images
are timed apart: unpacking a PNG costs both sides the same zlib, which bounds the ratio there. Masks are PNG in both.
Training reads JPEG fast and not exactly, which Pillow does not; ours with Pillow's exactness is timed beside it.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.timing import interleaved, machine, one_thread, ratio, table
from singleshot.data.augment.augment import Augmentation, Plan, apply_to_image, apply_to_mask, draw_plan
from singleshot.data.augment.sampling import WHOLE, CropSampler
from singleshot.data.load.order import rng_for
from singleshot.data.masks import files as mask_files
from singleshot.images import read_image
from singleshot.streets.objects import MASK_NAMES
from singleshot.streets.scene import scene
from singleshot.structures import UNKNOWN, VOID, MaskCode

SIZE_HW, PICTURE_HW, COUNT = (384, 768), (512, 1024), 16
AUGMENTATION = Augmentation(
    expand_probability=0.25,
    max_expand=1.5,
    samplers=(WHOLE, CropSampler(scale=(0.5, 1.0), aspect_ratio=(0.75, 1.33))),
    interpolations=("linear",),
)
CODE = MaskCode(tuple(i if i < len(MASK_NAMES) else VOID if i == VOID else UNKNOWN for i in range(256)))
TARGET_JPEG = 3.0
APART = 2.5
"""How much the images of both ways may differ on average, of 255."""
_NO_BOXES = np.zeros((0, 4))
Pair = tuple[np.ndarray, np.ndarray]


def draw(folder: Path) -> None:
    """Scenes as JPEG, PNG and mask."""
    for i in range(COUNT):
        drawn = scene(0, "train", i, size_hw=PICTURE_HW)
        bgr = cv2.cvtColor(drawn.image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{i}.jpg"), bgr, (cv2.IMWRITE_JPEG_QUALITY, 92))
        cv2.imwrite(str(folder / f"{i}.png"), bgr)
        cv2.imwrite(str(folder / f"{i}_mask.png"), drawn.mask)


def ours(image: Path, mask: Path, plan: Plan, *, fast: bool = True) -> Pair:
    """Our way, faults looked for and all, as training reads; or with JPEG decoded exactly."""
    pixels = read_image(image, fast=fast)
    ids = mask_files.read(mask, CODE)
    return apply_to_image(pixels, plan, SIZE_HW, AUGMENTATION.mean_rgb), apply_to_mask(ids, plan, SIZE_HW)


def plain(image: Path, mask: Path, plan: Plan) -> Pair:
    """The same plan by Pillow and numpy."""
    colours, wanted = plan.distortion, (SIZE_HW[1], SIZE_HW[0])
    with Image.open(image) as file, Image.open(mask) as labels:
        picture = file.convert("RGB").crop(_inside(plan, file.size))
        ids = np.asarray(labels.crop(_inside(plan, labels.size)))
    pixels = np.asarray(picture).astype(np.float32)
    pixels = (pixels + colours.brightness).clip(0, 255)
    if colours.contrast_first:
        pixels = (pixels * colours.contrast).clip(0, 255)
    if colours.saturation != 1.0 or colours.hue:
        planes = np.asarray(Image.fromarray(pixels.astype(np.uint8)).convert("HSV")).astype(np.float32)
        planes[..., 0] = (planes[..., 0] + round(colours.hue) * 256 / 180) % 256
        planes[..., 1] = (planes[..., 1] * colours.saturation).clip(0, 255)
        pixels = np.asarray(Image.fromarray(planes.astype(np.uint8), "HSV").convert("RGB")).astype(np.float32)
    if not colours.contrast_first:
        pixels = (pixels * colours.contrast).clip(0, 255)
    pixels, ids = pixels.astype(np.uint8), np.asarray(ids)
    left, top, right, bottom = plan.window
    inner = _inside(plan, (PICTURE_HW[1], PICTURE_HW[0]))
    if inner != plan.window:
        canvas = np.full((bottom - top, right - left, 3), AUGMENTATION.mean_rgb, np.uint8)
        void = np.full((bottom - top, right - left), VOID, np.uint8)
        at = (slice(inner[1] - top, inner[3] - top), slice(inner[0] - left, inner[2] - left))
        canvas[at], void[at] = pixels, ids
        pixels, ids = canvas, void
    pixels = np.asarray(Image.fromarray(pixels).resize(wanted, Image.Resampling.BILINEAR))
    ids = np.asarray(Image.fromarray(ids).resize(wanted, Image.Resampling.NEAREST))
    return (pixels[:, ::-1].copy(), ids[:, ::-1].copy()) if plan.mirror else (pixels, ids)


def _inside(plan: Plan, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = plan.window
    return max(left, 0), max(top, 0), min(right, size_wh[0]), min(bottom, size_wh[1])


def exactly(image: Path, mask: Path, plan: Plan) -> Pair:
    """Our way with JPEG decoded as exactly as Pillow does."""
    return ours(image, mask, plan, fast=False)


def check(folder: Path) -> None:
    """All ways must give the same pair."""
    for i, ending, load in itertools.product(range(COUNT), (".jpg", ".png"), (ours, exactly)):
        plan = draw_plan(rng_for(0, 0, i), PICTURE_HW, _NO_BOXES, AUGMENTATION)
        files = folder / f"{i}{ending}", folder / f"{i}_mask.png"
        (mine, my_ids), (theirs, their_ids) = load(*files, plan), plain(*files, plan)
        differ = float((my_ids != their_ids).mean())
        apart = float(np.abs(mine.astype(int) - theirs).mean())
        if differ or apart > APART:
            what = f"masks differ at {differ:.2%} of the pixels, images by {apart:.1f} on average"
            raise SystemExit(f"scene {i}{ending}, {load.__name__}: {what}")


def main() -> None:
    """Print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    one_thread()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder)
        check(folder)
        plans = [draw_plan(rng_for(0, 1, i), PICTURE_HW, _NO_BOXES, AUGMENTATION) for i in range(COUNT)]

        def loading(load: Callable[[Path, Path, Plan], Pair], ending: str) -> Callable[[], object]:
            files = [(folder / f"{i}{ending}", folder / f"{i}_mask.png") for i in range(COUNT)]
            return lambda: [load(*pair, plan) for pair, plan in zip(files, plans, strict=True)]

        calls = {
            f"{who}, {ending}": loading(load, ending)
            for ending in (".jpg", ".png")
            for who, load in (("ours", ours), ("ours, exact", exactly), ("plain", plain))
            if (load, ending) != (exactly, ".png")  # PNG is always exact
        }
        times = interleaved(calls, repeats=options.repeats)
    print(machine("numpy", "opencv-python-headless", "pillow", "simplejpeg"))
    print(f"{PICTURE_HW[1]}x{PICTURE_HW[0]} pairs → {SIZE_HW[1]}x{SIZE_HW[0]}")
    print(table(times, per="pair", count=COUNT))
    found = ratio(times, "plain, .jpg", "ours, .jpg")
    print(f"JPEG: {found:.1f}x (target {TARGET_JPEG:g}x{'' if found >= TARGET_JPEG else ', missed'})")
    print(f"JPEG, both exact: {ratio(times, 'plain, .jpg', 'ours, exact, .jpg'):.1f}x")
    print(f"PNG: {ratio(times, 'plain, .png', 'ours, .png'):.1f}x")


if __name__ == "__main__":
    main()
