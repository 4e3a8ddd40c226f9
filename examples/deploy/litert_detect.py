"""Detect objects in an image with LiteRT, without singleshot: `python litert_detect.py best.tflite street.jpg`."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from decode import detections, to_input


def main(model, picture):
    """Print the objects in an image."""
    facts = json.loads(Path(model).with_suffix(".json").read_text(encoding="utf-8"))
    interpreter = Interpreter(model)
    interpreter.allocate_tensors()
    (into,) = interpreter.get_input_details()

    image = cv2.cvtColor(cv2.imread(picture), cv2.COLOR_BGR2RGB)
    pixels, size_hw = to_input(image, facts)
    values = (pixels - np.float32(facts["preprocess"]["mean_rgb"])) / np.float32(facts["preprocess"]["std_rgb"])
    interpreter.set_tensor(into["index"], quantised(values, into)[None])
    interpreter.invoke()

    found = []
    for detail in interpreter.get_output_details():
        found.append(restored(interpreter.get_tensor(detail["index"])[0], detail))
    logits, offsets = (found[facts["outputs"][name]] for name in ("class_logits", "box_offsets"))
    for name, score, *box in detections(logits, offsets, facts, size_hw, image.shape[:2]):
        print(f"{name} {score:.4f}", *(f"{edge:.2f}" for edge in box))


def quantised(values, detail):
    """Floats as a tensor wants them: as they are, or as 8-bit integers."""
    scale, zero = detail["quantization"]
    if not scale:
        return values
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(detail["dtype"])


def restored(values, detail):
    """Floats of what a tensor gave."""
    scale, zero = detail["quantization"]
    return (values.astype(np.float32) - zero) * scale if scale else values


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
