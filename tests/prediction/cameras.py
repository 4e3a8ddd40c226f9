"""Cameras on the loopback for tests: one of ours that speaks HTTP, and GStreamer's RTSP server in its own process."""

from __future__ import annotations

import base64
import contextlib
import http.server
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

RTSP_SERVER = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"


def picture(level: int, size_hw: tuple[int, int] = (48, 64)) -> bytes:
    """A JPEG of one grey level."""
    return cv2.imencode(".jpg", np.full((*size_hw, 3), level, np.uint8))[1].tobytes()


class HttpCamera:
    """A camera at `url` that sends MJPEG; the grey level of a picture is its number.

    Args:
        answer: writes the response in place of pictures; gets the request handler.
        password: required of clients, with the user name `me`.
    """

    def __init__(
        self,
        answer: Callable[[Any], None] | None = None,
        *,
        password: str | None = None,
        port: int = 0,
        size_hw: Callable[[int], tuple[int, int]] = lambda _number: (48, 64),
    ) -> None:
        camera = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def do_GET(self) -> None:
                camera.requests.append(self.path)
                camera.clients.append(self.connection)
                wanted = None if password is None else base64.b64encode(f"me:{password}".encode()).decode()
                if wanted is not None and self.headers.get("Authorization") != f"Basic {wanted}":
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.end_headers()
                    return
                with contextlib.suppress(OSError):
                    (answer or camera.pictures)(self)

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None: ...

        self.requests: list[str] = []
        self.clients: list[socket.socket] = []
        self.size_hw, self.started, self.stopped = size_hw, time.monotonic(), False
        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/live"

    @property
    def number(self) -> int:
        """The number of the picture that is sent now, 25 a second."""
        return int((time.monotonic() - self.started) * 25)

    def head(self, handler: Any, kind: str = "multipart/x-mixed-replace; boundary=frame") -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.end_headers()

    def send(self, handler: Any, data: bytes) -> None:
        head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
        handler.wfile.write(head + data + b"\r\n")

    def pictures(self, handler: Any) -> None:
        self.head(handler)
        while not self.stopped:
            self.send(handler, picture(min(self.number, 255), self.size_hw(self.number)))
            time.sleep(0.04)

    def stop(self) -> None:
        """Go away: connections break, and nobody listens."""
        self.stopped = True
        self._server.shutdown()
        self._server.server_close()
        for client in self.clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> HttpCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class RtspCamera:
    """GStreamer's RTSP server with a moving ball in H.264, 320×240, 25 frames a second. Needs Debian's packages."""

    def __init__(self, port: int = 0) -> None:
        if not has_rtsp_server():
            pytest.skip("needs GStreamer's RTSP server (make rtsp installs it from Debian's packages)")
        command = [SYSTEM_PYTHON, str(RTSP_SERVER), str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], 60)
        line = self.process.stdout.readline() if readable else ""
        assert line.startswith("listening "), "the RTSP server did not start"
        self.port = int(line.split()[1])

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    def stop(self) -> None:
        """End the server as a power cut does."""
        self.process.kill()
        self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> RtspCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def has_rtsp_server() -> bool:
    """Whether the system's Python finds GStreamer's RTSP server and the H.264 encoder."""
    if shutil.which(SYSTEM_PYTHON) is None:
        return False
    done = subprocess.run([SYSTEM_PYTHON, str(RTSP_SERVER), "--check"], capture_output=True, timeout=60, check=False)
    return done.returncode == 0
