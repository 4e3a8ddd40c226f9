"""What the server's parts exchange: requests, responses and refusals, and how they cross the pipe to the worker.

A refusal says what is wrong with the request and nothing else about the server: no path, no traceback, no process name.
Internal failures go to the server's log under the request's id. Only bytes and JSON cross the pipe, never a pickle: a
worker taken over by a hostile image can send wrong answers but cannot run code in the server.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

RawHeaders = list[tuple[bytes, bytes]]


class Refusal(Exception):  # noqa: N818
    """A request that gets an error response. Raised where the request fails, turned into a response by the app.

    Args:
        status: HTTP status.
        code: a short, stable name such as `too-large-body`.
        message: one sentence for a person.
        headers: additional response headers.
    """

    def __init__(self, status: int, code: str, message: str, *, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, tuple(headers)

    def body(self, request_id: str = "") -> bytes:
        r"""Return the response body, one line of JSON.

        >>> Refusal(404, "not-found", "This path does not exist.").body("7f")
        b'{"error":{"code":"not-found","message":"This path does not exist.","request_id":"7f"}}\n'
        """
        error = {"code": self.code, "message": self.message} | ({"request_id": request_id} if request_id else {})
        return json.dumps({"error": error}, separators=(",", ":")).encode() + b"\n"

    def response_headers(self, request_id: str = "") -> RawHeaders:
        """Return the response headers, content length included."""
        return [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body(request_id))).encode()),
            *self.headers,
        ]


def busy(message: str, retry_after_s: int, code: str = "busy") -> Refusal:
    """Make a 503 that tells the client when to retry."""
    return Refusal(503, code, message, headers=[(b"retry-after", str(retry_after_s).encode())])


def internal_error() -> Refusal:
    """Make a 500 that tells the client nothing; the cause is in the server's log."""
    return Refusal(500, "internal", "Internal error: see the server's log.")


@dataclass(frozen=True)
class PredictRequest:
    """One uploaded image: the bytes of its file, and the lowest score to report; None for the model's own."""

    image: bytes
    threshold: float | None = None


@dataclass(frozen=True)
class PredictResponse:
    """The response to one image: an HTTP status and one line of JSON."""

    status: int
    body: bytes


def send_batch(pipe: Connection, batch: Sequence[PredictRequest]) -> None:
    """Send a batch to the worker; see `receive_batch`."""
    send_json(pipe, [request.threshold for request in batch])
    for request in batch:
        pipe.send_bytes(request.image or b"\0")  # a pipe cannot carry an empty message; neither is an image


def receive_batch(pipe: Connection) -> list[PredictRequest]:
    """Receive a batch. Raises EOFError if the other end is closed."""
    thresholds = receive_json(pipe)
    return [PredictRequest(pipe.recv_bytes(), threshold) for threshold in thresholds]


def send_responses(pipe: Connection, responses: Sequence[PredictResponse]) -> None:
    """Send the responses to a batch, one message each; see `receive_response`."""
    for response in responses:
        pipe.send_bytes(b"%d " % response.status + response.body)


def receive_response(pipe: Connection) -> PredictResponse:
    """Receive the next response. Raises EOFError if the other end is closed."""
    status, _, body = pipe.recv_bytes().partition(b" ")
    return PredictResponse(int(status), body)


def send_json(pipe: Connection, value: Any) -> None:
    """Send one JSON message."""
    pipe.send_bytes(json.dumps(value).encode())


def receive_json(pipe: Connection) -> Any:
    """Receive one JSON message. Raises EOFError if the other end is closed."""
    return json.loads(pipe.recv_bytes())
