"""What a caller is told when a request is refused: a status, a stable code, one line, and a number to ask about.

The line says what is wrong with the request. Nothing else of the server is in it: no path, no trace, no name of a
process. What went wrong inside is in the server's own log, under the same number.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

RawHeaders = list[tuple[bytes, bytes]]


class Refusal(Exception):  # noqa: N818
    """A request that is not answered with a result. It is raised, and ends as a response.

    Args:
        status: of HTTP.
        code: a short, stable name such as `too-large-body`.
        message: one sentence for a person.
        headers: more headers of the response.
    """

    def __init__(self, status: int, code: str, message: str, *, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, tuple(headers)

    def body(self, request_id: str = "") -> bytes:
        r"""The response's body, one line of JSON.

        >>> Refusal(404, "not-found", "There is nothing here.").body("7f")
        b'{"error":{"code":"not-found","message":"There is nothing here.","request_id":"7f"}}\n'
        """
        said = {"code": self.code, "message": self.message} | ({"request_id": request_id} if request_id else {})
        return json.dumps({"error": said}, separators=(",", ":")).encode() + b"\n"

    def response_headers(self, request_id: str = "") -> RawHeaders:
        """The response's headers, the body's length among them."""
        return [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body(request_id))).encode()),
            *self.headers,
        ]


def busy(message: str, retry_after_s: int, code: str = "busy") -> Refusal:
    """A 503 that says when to come back."""
    return Refusal(503, code, message, headers=[(b"retry-after", str(retry_after_s).encode())])
