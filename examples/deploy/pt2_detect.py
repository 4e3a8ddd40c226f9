"""Detect objects in an image with torch, without singleshot: `python pt2_detect.py best.pt2 street.jpg`.

The file is a whole detector: an image of any size goes in, boxes come out. Open only files that you made yourself:
`torch.export.load` does not look for code in them, which `singleshot.load` does.
"""

import json
import sys

import cv2
import torch


def main(model, picture, least=0.5):
    """Print the objects in an image."""
    texts = {"class_names.txt": ""}
    detect = torch.export.load(model, extra_files=texts).module()
    names = json.loads(texts["class_names.txt"])

    image = torch.from_numpy(cv2.cvtColor(cv2.imread(picture), cv2.COLOR_BGR2RGB))
    with torch.inference_mode():
        boxes, scores, class_ids, counts = detect(image[None])
    for box, score, class_id in zip(
        *(each[0][: counts[0]].tolist() for each in (boxes, scores, class_ids)), strict=True
    ):
        if score >= least:
            print(f"{names[class_id]} {score:.4f}", *(f"{edge:.2f}" for edge in box))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
