"""Detect objects in an image with ncnn, without singleshot: `python ncnn_detect.py best.ncnn.param street.jpg`."""

import json
import sys
from pathlib import Path

import cv2
import ncnn
from decode import detections, to_input


def main(param, picture):
    """Print the objects in an image."""
    facts = json.loads(Path(param).with_suffix(".json").read_text(encoding="utf-8"))
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.load_param(param)
    net.load_model(str(Path(param).with_suffix(".bin")))

    image = cv2.cvtColor(cv2.imread(picture), cv2.COLOR_BGR2RGB)
    pixels, size_hw = to_input(image, facts)
    config, (high, wide) = facts["preprocess"], facts["preprocess"]["size_hw"]
    mat = ncnn.Mat.from_pixels(pixels, ncnn.Mat.PixelType.PIXEL_RGB, wide, high)
    mat.substract_mean_normalize(config["mean_rgb"], [1 / each for each in config["std_rgb"]])

    extractor = net.create_extractor()
    extractor.input(facts["input"]["name"], mat)
    logits, offsets = (extractor.extract(facts["outputs"][name])[1].numpy() for name in ("class_logits", "box_offsets"))
    for name, score, *box in detections(logits, offsets, facts, size_hw, image.shape[:2]):
        print(f"{name} {score:.4f}", *(f"{edge:.2f}" for edge in box))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
