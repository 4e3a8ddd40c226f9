"""An upload: the request body, within limits, and the one image in it.

A body is refused before it is read if its declared length exceeds the limit, and at the limit otherwise. A refused body
is not simply left in the socket: closing a connection with unread bytes resets it, and the client would get the reset
instead of the reason. `LingeringClose` sends the response first, then reads and discards for a moment, then closes.

The image is the body itself, the one part of a form, or base64 in JSON. Forms and JSON are parsed in memory, which the
body limit bounds, and are never written to disk. The filename of a part is ignored: path traversal begins with names.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from singleshot.serve.messages import Refusal, busy
from singleshot.serve.settings import LINGER_BYTES, LINGER_S, Settings

FIELD = "image"
MAX_PARTS = 4
FORM = "multipart/form-data"
JSON = "application/json"
SPARE_JSON_BYTES = 1024
"""In a JSON body beside the image: names, threshold, white space."""
_RAW_TYPES = {"", "application/octet-stream"}
_ONE_FIELD = f"The form must have one field, {FIELD}, with one image file."


class BodyReader:
    """Reads request bodies and counts the bytes that all of them together hold in memory.

    Attributes:
        held_bytes: bytes of all bodies in memory now.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.held_bytes = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request, limit: int | None = None) -> AsyncIterator[bytes]:
        """Yield the whole body; it counts as held while inside.

        Args:
            request: whose body it is.
            limit: most bytes of it; None for `max_body_bytes`.

        Raises:
            Refusal: the body exceeds the limit (413), or all bodies together exceed theirs (503).
            ClientDisconnect: the client disconnected.
        """
        limit = self._settings.max_body_bytes if limit is None else limit
        size = 0
        try:
            chunks: list[bytes] = []
            declared = request.headers.get("content-length", "0")
            self._check(int(declared) if declared.isascii() and declared.isdigit() else 0, limit)
            async for chunk in request.stream():
                size, self.held_bytes = size + len(chunk), self.held_bytes + len(chunk)
                self._check(size, limit)
                chunks.append(chunk)
            body = b"".join(chunks)
            chunks.clear()  # or it would be in memory twice and counted once
            yield body
        finally:
            self.held_bytes -= size

    def _check(self, size: int, limit: int) -> None:
        if size > limit:
            raise _too_large(self._settings.max_body_bytes)
        if self.held_bytes > self._settings.max_held_bytes:
            raise busy("Too many uploads are in progress.", self._settings.retry_after_s)


class LingeringClose:
    """ASGI middleware: a response sent before its request was read closes the connection without a reset."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        names = {name for name, _ in scope["headers"]}
        unread = (
            bool(names & {b"content-length", b"transfer-encoding"})
            and (b"content-length", b"0") not in scope["headers"]
        )
        early = False

        async def receive_counted() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and message.get("more_body", False)
            return message

        async def send_lingering(message: Any) -> None:
            nonlocal early
            if message["type"] == "http.response.start" and unread:
                early = True
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            if early and message["type"] == "http.response.body" and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _discard_body(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, receive_counted, send_lingering)


async def _discard_body(receive: Receive) -> None:
    """Read and discard a body, up to `LINGER_S` seconds and `LINGER_BYTES` bytes."""
    size = 0
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(LINGER_S):
            while size < LINGER_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def check_type(content_type: str) -> None:
    """Raise Refusal (415) unless the type may be an image or a form. Called before the body is read."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in _RAW_TYPES and media_type not in (FORM, JSON) and not media_type.startswith("image/"):
        message = (
            f"Send the image file itself with Content-Type image/…, or as the field {FIELD} of a form, or in base64 as "
            f"the field {FIELD} of JSON."
        )
        raise Refusal(415, "unsupported-type", message)


def body_limit(content_type: str, max_bytes: int) -> int:
    """Return the most bytes of a body whose image file may have `max_bytes`: base64 is a third longer.

    >>> body_limit("image/jpeg", 3000), body_limit("application/json", 3000)
    (3000, 5024)
    """
    return -(-max_bytes // 3) * 4 + SPARE_JSON_BYTES if _is_json(content_type) else max_bytes


@dataclass(frozen=True)
class Upload:
    """The image file in a body, and the threshold beside it; None where there is none."""

    image: bytes
    threshold: float | None = None


def parse(body: bytes, content_type: str, max_bytes: int) -> Upload:
    """Return the image file in a body.

    Args:
        body: of the request.
        content_type: its header, already accepted by `check_type`.
        max_bytes: of an image file in JSON.

    Raises:
        Refusal: 400 for JSON that is none, and for a form that is malformed, has several images or more than
            `MAX_PARTS` parts; 422 for a form or JSON without an image or with another field beside it, for text that
            is not base64, and for an empty file; 413 for a file in JSON that is too large.
    """
    media_type, options = parse_options_header(content_type)
    upload = Upload(body)
    if _is_json(content_type):
        upload = _json_upload(body)
    elif media_type == FORM.encode():
        upload = Upload(_form_image(body, options.get(b"boundary", b"")))
    if not upload.image:
        raise Refusal(422, "empty-file", "The request contains no image.")
    if len(upload.image) > max_bytes:
        raise _too_large(max_bytes)
    return upload


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(413, "too-large-body", f"The body is larger than {max_bytes / 2**20:g} MiB.")


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == JSON


def _json_upload(body: bytes) -> Upload:
    try:
        fields = json.loads(body, parse_constant=_no_number, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "bad-json", "The JSON cannot be read.") from error
    if not isinstance(fields, dict) or FIELD not in fields or not set(fields) <= {FIELD, "threshold"}:
        raise Refusal(422, "bad-json", f"The JSON must be an object with the field {FIELD} and, optionally, threshold.")
    threshold, image = fields.get("threshold"), fields[FIELD]
    # A bool is an int in Python.
    if threshold is not None and (type(threshold) not in (int, float) or not 0 <= threshold <= 1):
        raise Refusal(422, "bad-threshold", "threshold must be a number from 0 to 1.")
    try:
        data = base64.b64decode(image.encode("ascii") if isinstance(image, str) else b"!", validate=True)
    except ValueError as error:
        message = f"{FIELD} must be the image file in base64, without line breaks and without the prefix of a data URL."
        raise Refusal(422, "bad-base64", message) from error
    return Upload(data, None if threshold is None else float(threshold))


def _no_number(name: str) -> float:
    raise ValueError(name)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of an object's fields; of one that is given twice, json would keep the last without a word."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is given twice")
    return fields


def _form_image(body: bytes, boundary: bytes) -> bytes:
    if not boundary:
        raise Refusal(400, "bad-form", "The form has no boundary.")
    form = _Form()
    callbacks: Any = {name: getattr(form, name) for name in dir(form) if name.startswith("on_")}
    try:
        MultipartParser(boundary, callbacks).write(body)
    except FormParserError as error:
        raise Refusal(400, "bad-form", "The form cannot be read.") from error
    if not form.complete:
        raise Refusal(400, "bad-form", "The form ends too early.")
    images = [data for name, data in form.parts if name == FIELD.encode()]
    if len(form.parts) != 1 or not images:
        raise Refusal(400 if len(images) > 1 else 422, "bad-form", _ONE_FIELD)
    return images[0]


class _Form:
    """Collects the parts of a form while the parser runs; its methods are the parser's callbacks of their names.

    Attributes:
        parts: the name and the data of each part.
        complete: whether the final boundary was read.
    """

    def __init__(self) -> None:
        self.parts: list[tuple[bytes, bytes]] = []
        self.complete = False
        self._field = self._value = self._name = b""
        self._chunks: list[bytes] = []

    def on_part_begin(self) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise Refusal(400, "bad-form", _ONE_FIELD)
        self._name, self._chunks = b"", []

    def on_header_begin(self) -> None:
        self._field = self._value = b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._name = parse_options_header(self._value)[1].get(b"name", b"")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def on_part_end(self) -> None:
        self.parts.append((self._name, b"".join(self._chunks)))

    def on_end(self) -> None:
        self.complete = True
