"""`everyday` beside the published model in its own runtime, LiteRT, on photographs.

    python -m tests.starts.litert objectron_solution_packed_assets.data [--photos DIR] [--write golden.json]

The file is the one that tools/ready_detector.py reads; LiteRT is PyPI's `ai-edge-litert`, which nothing else here
needs. Raises where logits differ by more than 1e-3, or boxes by more than 0.05 pixels of the photograph. `--write`
keeps what LiteRT answers on the two photographs of the package, for the tests that run without it.

Boxes are decoded here by MediaPipe's rules (`tflite_tensors_to_detections_calculator`), from its anchors.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.images import IMAGE_SUFFIXES, read_image
from singleshot.prediction.load import load_detector
from singleshot.preprocess import resize
from singleshot.starts import shipped
from tools.ready_detector import model_bytes

LOGIT, BOX_PX = 1e-3, 0.05
GOLDEN = Path(__file__).with_name("golden.json")
OWN = list(shipped.real_images())
SCALES = [0.2 + (0.95 - 0.2) * index / 5 for index in range(6)]


def mediapipe_anchors() -> np.ndarray:
    """(1917, 4) y, x, height, width as shares of the input, as `ssd_anchors_calculator` lists them."""
    rows = []
    for layer, side in enumerate((19, 10, 5, 3, 2, 1)):
        scale, following = SCALES[layer], [*SCALES, 1.0][layer + 1]
        shapes = [(1.0, 0.1), (2.0, scale), (0.5, scale)]
        if layer:
            shapes = [(ratio, scale) for ratio in (1.0, 2.0, 0.5, 3.0, 0.3333)]
            shapes.append((1.0, math.sqrt(scale * following)))
        for y in range(side):
            for x in range(side):
                rows += [
                    ((y + 0.5) / side, (x + 0.5) / side, size / math.sqrt(ratio), size * math.sqrt(ratio))
                    for ratio, size in shapes
                ]
    return np.array(rows)


def decoded_xyxy(encodings: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(A, 4) corners in pixels of the photograph, of LiteRT's (A, 4) y, x, height, width over 10, 10, 5, 5."""
    anchors, (height, width) = mediapipe_anchors(), size_hw
    centre = encodings[:, :2] / 10 * anchors[:, 2:] + anchors[:, :2]
    half = np.exp(encodings[:, 2:] / 5) * anchors[:, 2:] / 2
    low, high = centre - half, centre + half
    return np.column_stack([low[:, 1] * width, low[:, 0] * height, high[:, 1] * width, high[:, 0] * height])


def answers(model: bytes, photo: Path) -> tuple[np.ndarray, np.ndarray]:
    """LiteRT's (A, 23) logits without the background, and (A, 4) box encodings."""
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    interpreter: Any = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    pixels = resize(read_image(photo), (300, 300))[None].astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels / 127.5 - 1)
    interpreter.invoke()
    found = {each["shape"][-1]: interpreter.get_tensor(each["index"])[0] for each in interpreter.get_output_details()}
    return found[24][:, 1:], found[4]


def differences(logits: np.ndarray, encodings: np.ndarray, photo: Path) -> tuple[float, float]:
    """The largest difference of our logits, and of our boxes in pixels of the photograph."""
    from singleshot.boxes import cxcywh_to_xyxy
    from singleshot.detection.coding import decode

    detector = load_detector("everyday")
    image = read_image(photo)
    raw = detector.forward(detector.preprocess([image]))
    corners = cxcywh_to_xyxy(decode(raw.box_offsets[0], detector.network.anchors_cxcywh)).numpy().astype(np.float64)
    height, width = image.shape[:2]
    ours = corners * [width, height, width, height]
    theirs = decoded_xyxy(encodings.astype(np.float64), (height, width))
    return float(np.abs(raw.class_logits[0].numpy() - logits).max()), float(np.abs(ours - theirs).max())


def main() -> None:
    """Compare, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=Path, help="a folder of photographs beside those of the package")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    _, model = model_bytes(arguments.data)
    more = sorted(arguments.photos.iterdir()) if arguments.photos else []
    kept = {}
    for photo in [*OWN, *(each for each in more if each.suffix.lower() in IMAGE_SUFFIXES)]:
        logits, encodings = answers(model, photo)
        logit, box_px = differences(logits, encodings, photo)
        print(f"{photo.name}: logits differ by {logit:.1e} at most, boxes by {box_px:.4f} px")
        if logit > LOGIT or box_px > BOX_PX:
            raise SystemExit(f"more than {LOGIT:g} or {BOX_PX:g} px")
        best = np.argsort(-logits.max(axis=1), kind="stable")[:20]  # and a few anchors of every map
        rows = sorted({*best.tolist(), *range(0, len(logits), 97)})
        kept[photo.name] = {
            "anchors": rows,
            "logits": logits[rows].round(5).tolist(),
            "encodings": encodings[rows].round(6).tolist(),
        }
    if arguments.write:
        own = {photo.name: kept[photo.name] for photo in OWN}
        arguments.write.write_text(json.dumps(own) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
