"""The one picture in a request's body: the body itself, or the one part of a form.

A form is read in memory, which the body's cap bounds, and nothing of it is written to disk. The name that a part gives
to its file is not looked at: it is no business of the server's, and names are how traversal begins.
"""

from __future__ import annotations

from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from singleshot.serve.refusal import Refusal

FIELD = "image"
MAX_PARTS = 4
_RAW = {"", "application/octet-stream"}
FORM = "multipart/form-data"


def check_type(content_type: str) -> None:
    """Raises Refusal (415) unless it may be a picture or a form; asked before the body is read."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _RAW and kind != FORM and not kind.startswith("image/"):
        what = f"Send the picture's file as it is, with Content-Type image/… , or as the field {FIELD} of a form."
        raise Refusal(415, "unsupported-type", what)


def picture(body: bytes, content_type: str) -> bytes:
    """The picture's file.

    Args:
        body: of the request.
        content_type: its header, which `check_type` has passed.

    Raises:
        Refusal: 400 for a form that is broken, has several pictures or more than `MAX_PARTS` parts; 422 for one without
            a picture or with another field beside it, and for nothing.
    """
    kind, options = parse_options_header(content_type)
    found = _part(body, options.get(b"boundary", b"")) if kind == FORM.encode() else body
    if not found:
        raise Refusal(422, "empty-file", "There is no picture in the request.")
    return found


def _part(body: bytes, boundary: bytes) -> bytes:
    if not boundary:
        raise Refusal(400, "bad-form", "The form has no boundary.")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
    except FormParserError as error:
        raise Refusal(400, "bad-form", "The form cannot be read.") from error
    if not form.complete:
        raise Refusal(400, "bad-form", "The form ends too early.")
    pictures = [data for name, data in form.parts if name == FIELD.encode()]
    if len(form.parts) != 1 or not pictures:
        status = 400 if len(pictures) > 1 else 422
        raise Refusal(status, "bad-form", f"The form must have one field, {FIELD}, with one picture.")
    return pictures[0]


class _Form:
    """Collects the parts of a form while it is parsed."""

    def __init__(self) -> None:
        self.parts: list[tuple[bytes, bytes]] = []
        self.complete = False
        self._field = self._value = self._name = b""
        self._chunks: list[bytes] = []

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_begin": self._header_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._complete,
        }

    def _begin(self) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise Refusal(400, "bad-form", f"The form must have one field, {FIELD}, with one picture.")
        self._name, self._chunks = b"", []

    def _header_begin(self) -> None:
        self._field = self._value = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._name = parse_options_header(self._value)[1].get(b"name", b"")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def _end(self) -> None:
        self.parts.append((self._name, b"".join(self._chunks)))

    def _complete(self) -> None:
        self.complete = True
