"""Detect objects in an image with OpenVINO, without singleshot: `python openvino_detect.py best.xml street.jpg`.

The file, with its `.bin` beside it, is a whole detector: an image of any size goes in, boxes come out.
"""

import json
import sys

import cv2
import openvino


def main(model, picture, least=0.5):
    """Print the objects in an image."""
    read = openvino.Core().read_model(model)
    names = json.loads(read.get_rt_info(["singleshot", "class_names"]).astype(str))
    detect = openvino.Core().compile_model(read, "CPU", {"PERFORMANCE_HINT": "LATENCY"})

    image = cv2.cvtColor(cv2.imread(picture), cv2.COLOR_BGR2RGB)
    found = detect(image[None])
    boxes, scores, class_ids, counts = (found[place] for place in range(4))
    for box, score, class_id in zip(*(each[0][: counts[0]] for each in (boxes, scores, class_ids)), strict=True):
        if score >= least:
            print(f"{names[class_id]} {score:.4f}", *(f"{edge:.2f}" for edge in box))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
