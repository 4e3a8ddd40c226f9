"""What OpenAPI says of `/v1/predict`, which reads its body itself and so has to describe it itself."""

from __future__ import annotations

from typing import Any

_NUMBER = {"type": "number"}
_BOX = {"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4, "description": "x1, y1, x2, y2 in pixels"}
_SIZE = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2, "description": "height, width"}
_NAMED = {"class": {"type": "string"}, "class_id": {"type": "integer"}}


def _rows(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "object", "properties": properties, "required": [*properties]}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


_DETECTIONS = _object({"size_hw": _SIZE, "detections": _rows({**_NAMED, "score": _NUMBER, "box_xyxy": _BOX})})
_MASK = {"type": "string", "contentEncoding": "base64", "description": "8-bit grey PNG: each pixel's class id"}
_CLASSES = _rows({**_NAMED, "share": _NUMBER})
_SEGMENTATION = _object({"size_hw": _SIZE, "classes": _CLASSES, "mask_png": _MASK})
_STRING = {"type": "string"}
_ERROR = _object({"error": _object({"code": _STRING, "message": _STRING})})


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


PREDICT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Best score first.", **_json({"oneOf": [_DETECTIONS, _SEGMENTATION]})},
    400: {"description": "A form that cannot be read.", **_json(_ERROR)},
    401: {"description": "No token.", **_json(_ERROR)},
    408: {"description": "The request came too slowly.", **_json(_ERROR)},
    413: {"description": "A body that is too large.", **_json(_ERROR)},
    415: {"description": "Not a kind of picture that is read.", **_json(_ERROR)},
    422: {"description": "No picture, a broken one, or one with too many pixels; `code` says which.", **_json(_ERROR)},
    503: {"description": "Busy: try again after `Retry-After` seconds.", **_json(_ERROR)},
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": _object({"image": {"type": "string", "format": "binary"}})}
PREDICT_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"image/*": _BINARY, "multipart/form-data": _FORM}}
}
