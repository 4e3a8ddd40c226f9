"""Detect objects in an image with Core ML, without singleshot: `python coreml_detect.py best.mlpackage street.jpg`.

Needs macOS. It was not run when it was written: no such machine was at hand.
"""

import json
import sys

import coremltools
import cv2
from decode import detections, to_input
from PIL import Image


def main(package, picture):
    """Print the objects in an image."""
    model = coremltools.models.MLModel(package)
    facts = json.loads(model.user_defined_metadata["facts"])

    image = cv2.cvtColor(cv2.imread(picture), cv2.COLOR_BGR2RGB)
    pixels, size_hw = to_input(image, facts)
    found = model.predict({"image": Image.fromarray(pixels)})  # normalisation is in the graph
    logits, offsets = found["class_logits"][0], found["box_offsets"][0]
    for name, score, *box in detections(logits, offsets, facts, size_hw, image.shape[:2]):
        print(f"{name} {score:.4f}", *(f"{edge:.2f}" for edge in box))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
