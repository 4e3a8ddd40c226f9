"""Detect objects in an image with ONNX Runtime, without singleshot: `python onnx_detect.py best.onnx street.jpg`.

The file is a whole detector: an image of any size goes in, boxes come out.
"""

import json
import sys

import cv2
import onnxruntime


def main(model, picture, least=0.5):
    """Print the objects in an image."""
    available = onnxruntime.get_available_providers()
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    session = onnxruntime.InferenceSession(model, providers=[each for each in wanted if each in available])
    names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])

    image = cv2.cvtColor(cv2.imread(picture), cv2.COLOR_BGR2RGB)
    boxes, scores, class_ids, counts = session.run(None, {"images": image[None]})
    for box, score, class_id in zip(*(each[0][: counts[0]] for each in (boxes, scores, class_ids)), strict=True):
        if score >= least:
            print(f"{names[class_id]} {score:.4f}", *(f"{edge:.2f}" for edge in box))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
