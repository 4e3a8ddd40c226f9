"""From the network's two outputs to boxes in pixels, in NumPy: what a raw export leaves to the program that runs it.

`facts` is the JSON file beside an `.ncnn.param` or a `.tflite`; an `.mlpackage` has the same text as its metadata.
"""

import cv2
import numpy as np


def to_input(image_rgb, facts):
    """The image as (H, W, 3) uint8 of the input size, and the height and width in pixels that it stands for."""
    (high, wide), (height, width) = facts["preprocess"]["size_hw"], image_rgb.shape[:2]
    if facts["preprocess"]["fit"] == "warp":
        return cv2.resize(image_rgb, (wide, high)), (height, width)
    by_height = height * wide >= width * high  # letterbox: upper left, the rest in the mean colour
    inner = (high, max(1, round(width * high / height))) if by_height else (max(1, round(height * wide / width)), wide)
    whole = np.empty((high, wide, 3), np.uint8)
    whole[:] = np.clip(np.round(facts["preprocess"]["mean_rgb"]), 0, 255)
    whole[: inner[0], : inner[1]] = cv2.resize(image_rgb, inner[::-1])
    return whole, (high * height / inner[0], wide * width / inner[1])


def detections(class_logits, box_offsets, facts, size_hw, image_hw, least=0.5):
    """Rows of class name, score and x1 y1 x2 y2 in pixels of the image, best first.

    `class_logits` (A, K) and `box_offsets` (A, 4) are the network's; `size_hw` is the second value of `to_input`.
    """
    limits, numbers = facts["thresholds"], facts["decoding"]
    if facts["scores"] == "softmax":
        shares = np.exp(class_logits - class_logits.max(axis=1, keepdims=True))
        scores = shares / shares.sum(axis=1, keepdims=True)
    else:
        scores = 1 / (1 + np.exp(-class_logits))
    scores = scores[:, facts["class_columns"]]
    centre, size = np.split(np.array(facts["anchors_cxcywh"], np.float32), 2, axis=1)
    centre = centre + box_offsets[:, :2] * numbers["centre_variance"] * size
    size = size * np.exp(np.minimum(box_offsets[:, 2:] * numbers["size_variance"], numbers["max_growth"]))
    boxes = np.hstack([centre - size / 2, centre + size / 2]) * np.array([size_hw[1], size_hw[0]] * 2)
    if limits["clip_before_nms"]:
        boxes = np.clip(boxes, 0, [image_hw[1], image_hw[0]] * 2)
    least = max(least, limits["score_threshold"])
    candidates = []
    for class_id in range(len(facts["class_names"])):
        best = np.argsort(-scores[:, class_id], kind="stable")[: limits["candidates_per_class"]]
        candidates += [(scores[each, class_id], class_id, each) for each in best if scores[each, class_id] > least]
    kept = []
    for score, class_id, each in sorted(candidates, key=lambda row: -row[0]):
        rivals = [other for _, its, other in kept if its == class_id or limits["class_agnostic_nms"]]
        if all(iou(boxes[each], boxes[other]) <= limits["nms_iou"] for other in rivals):
            kept.append((score, class_id, each))
    names = facts["class_names"]
    return [(names[its], float(score), *boxes[each].tolist()) for score, its, each in kept[: limits["max_detections"]]]


def iou(one, other):
    """The overlap of two boxes as a share of their union."""
    wide, high = np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return wide * high / max(sum(areas) - wide * high, 1e-12)
