from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
import tracemalloc
from typing import Any

import psutil
import pytest
from starlette.requests import Request

from singleshot.serve import uploads
from singleshot.serve.messages import Refusal
from singleshot.serve.settings import Settings
from singleshot.serve.uploads import BodyReader
from tests.serve.conftest import Program, Stub, body, code, digest, get, heard, jpeg, status, stub_server

HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
EDGE = "multipart/form-data; boundary=edge"


def part(data: bytes, *, name: str = "image", head: str = '; filename="a.jpg"') -> bytes:
    return f'--edge\r\nContent-Disposition: form-data; name="{name}"{head}\r\n\r\n'.encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--edge--\r\n"


def test_a_raw_body_and_a_form_give_the_same_bytes(stub: Stub) -> None:
    picture = jpeg()
    for content_type in ("image/jpeg", "IMAGE/PNG; q=1", "application/octet-stream"):
        assert body(stub.post(picture, f"Content-Type: {content_type}"))["sha256"] == digest(picture)
    assert body(stub.post(picture))["sha256"] == digest(picture), "no type at all is fine too"
    assert body(stub.post(form(part(picture)), f"Content-Type: {EDGE}"))["sha256"] == digest(picture)


@pytest.mark.parametrize(
    ("data", "content_type", "wanted"),
    [
        (form(part(b"x")), "multipart/form-data", (400, "bad-form")),  # no boundary
        (form(part(b"x")), "multipart/form-data; boundary=", (400, "bad-form")),
        (form(part(b"x")), "multipart/form-data; boundary=" + "e" * 300, (400, "bad-form")),
        (b"no form at all", EDGE, (400, "bad-form")),
        (b"", EDGE, (400, "bad-form")),
        (part(b"x")[:-4], EDGE, (400, "bad-form")),  # cut
        (form(), EDGE, (422, "bad-form")),  # no field
        (form(part(b"x", name="file")), EDGE, (422, "bad-form")),
        (form(part(b"x"), part(b"y")), EDGE, (400, "bad-form")),  # two
        (form(part(b"x"), part(b"y", name="more")), EDGE, (422, "bad-form")),
        (form(*[part(b"x")] * 10_000), EDGE, (400, "bad-form")),
        (form(part(b"x", head="; x=" + "a" * 100_000)), EDGE, (400, "bad-form")),
        (form(part(b"")), EDGE, (422, "empty-file")),
        (b"", "image/jpeg", (422, "empty-file")),
    ],
    ids=[
        "no-boundary",
        "empty-boundary",
        "long-boundary",
        "no-form",
        "nothing",
        "cut",
        "no-field",
        "other-field",
        "two",
        "mixed",
        "many",
        "head",
        "empty",
        "empty-body",
    ],
)
def test_h9_a_malformed_form_is_refused_in_one_line(
    stub: Stub, data: bytes, content_type: str, wanted: tuple[int, str]
) -> None:
    said = stub.post(data, f"Content-Type: {content_type}")
    assert code(said) == wanted
    assert said.partition(b"\r\n\r\n")[2].count(b"\n") == 1


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/ld+json", "application/x-www-form-urlencoded", "video/mp4", "text/html", "imagejpeg"],
)
def test_h10_other_content_types_are_refused_before_the_body_is_read(stub: Stub, content_type: str) -> None:
    assert code(stub.post(jpeg(), f"Content-Type: {content_type}")) == (415, "unsupported-type")


@pytest.mark.parametrize("name", ["../../etc/passwd", "%2e%2e%2fpasswd", "a\\0b", "x" * 2000, "C:\\\\con"])
def test_h12_the_file_name_of_an_upload_is_ignored(stub: Stub, name: str) -> None:
    said = stub.post(form(part(jpeg(), head=f'; filename="{name}"')), f"Content-Type: {EDGE}")
    assert status(said) == 200 and body(said)["sha256"] == digest(jpeg())


def test_partial_boundaries_inside_an_image_do_not_split_it() -> None:
    tricky = b"\xff\xd8--edg\r\n--edg\r\n\r\n-- edge--"
    assert uploads.parse(form(part(tricky)), EDGE, 10**6).image == tricky


def test_parameters_of_a_content_type_are_ignored() -> None:
    with pytest.raises(Refusal):
        uploads.check_type("text/html; image/jpeg")


def test_h3_a_declared_length_above_the_limit_is_refused_before_the_body_is_read(stub: Stub) -> None:
    with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as client:
        client.sendall(HEAD + b"Content-Length: 300000000\r\n\r\n")  # and not a byte of it
        assert code(heard(client)) == (413, "too-large-body")


def test_h3_the_413_arrives_although_the_client_keeps_sending(stub: Stub) -> None:
    with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as client:
        client.sendall(HEAD + b"Content-Length: 1500000\r\n\r\n" + bytes(1_500_000))
        assert code(heard(client)) == (413, "too-large-body")


def test_h4_a_chunked_body_is_refused_at_the_limit(stub: Stub) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            for _ in range(200):  # thirteen times the cap
                client.sendall(chunk)
                sent += 0x10000
        except (ConnectionError, TimeoutError):
            pass
        said = heard(client)
    assert sent < 200 * 0x10000, "it was read to the end"
    assert status(said) in (413, 0)  # 0: the reset of a client that never listened overtook the answer


def test_h4_a_chunked_body_just_above_the_limit_gets_413(stub: Stub) -> None:
    size = stub.settings.max_body_bytes + 1
    with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n")
        assert code(heard(client)) == (413, "too-large-body")


def test_h4_a_body_shorter_than_declared_is_dropped(stub: Stub) -> None:
    with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as client:
        client.sendall(HEAD + b"Content-Length: 5000\r\n\r\nshort")
        client.shutdown(socket.SHUT_WR)
        assert heard(client) == b""
    assert status(stub.ask(get("/healthz"))) == 200


def test_a_body_is_in_memory_once_and_released() -> None:
    chunk = bytes(4 << 20)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": bytes(chunk[1:]), "more_body": len(sent) < 3 and not sent.append(1)}

    sent: list[int] = []

    async def main() -> int:
        bodies = BodyReader(Settings(max_body_bytes=1 << 30))
        async with bodies.read(Request({"type": "http", "method": "POST", "headers": []}, receive)) as data:
            size, traced = len(data), tracemalloc.get_traced_memory()[0]
            assert bodies.held_bytes == size and traced - before < 1.5 * size
        return bodies.held_bytes

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        assert asyncio.run(main()) == 0
    finally:
        tracemalloc.stop()


def test_all_uploads_together_have_a_limit() -> None:
    with stub_server(max_held_bytes=300_000, window_s=5.0) as stub:
        with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as first:
            first.sendall(HEAD + b"Content-Length: 280000\r\n\r\n" + bytes(270_000))
            time.sleep(0.2)
            said = stub.post(jpeg((300, 300)), "Content-Type: image/jpeg")
            assert code(said) == (503, "busy") and b"retry-after: 1" in said
        time.sleep(0.2)
        assert status(stub.post(jpeg((300, 300)), "Content-Type: image/jpeg")) == 200, "the first one's bytes are free"


def test_an_early_response_stops_reading_after_a_moment(stub: Stub) -> None:
    stop = threading.Event()
    with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as client:
        client.sendall(HEAD.replace(b"image/jpeg", b"text/plain") + b"Transfer-Encoding: chunked\r\n\r\n")

        def send() -> None:
            try:
                while not stop.is_set():
                    client.sendall(b"1000\r\n" + bytes(0x1000) + b"\r\n")
                    time.sleep(0.001)
            except OSError:
                pass

        sender = threading.Thread(target=send)
        sender.start()
        start = time.monotonic()
        said = heard(client)
        taken = time.monotonic() - start
        stop.set()
        sender.join()
    assert taken < 3 and status(said) in (415, 0)


def test_h3_h4_memory_stays_flat_under_too_large_bodies(program: Program) -> None:
    process = psutil.Process(program.process.pid)
    chunk = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    before, most = process.memory_info().rss, 0
    for head in (b"Content-Length: 300000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", program.port), timeout=10) as client:
            client.sendall(HEAD + head)
            try:
                for _ in range(300):
                    client.sendall(chunk)
                    most = max(most, process.memory_info().rss)
            except OSError:
                pass
    assert most - before < 20 * 2**20


def as_json(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


JSON_TYPE = "Content-Type: application/json; charset=utf-8"


def test_base64_in_json_is_the_file_itself(stub: Stub) -> None:
    for more in ({}, {"threshold": 0.25}, {"threshold": 1}, {"threshold": None}):
        said = stub.post(as_json(image=base64_of(jpeg()), **more), JSON_TYPE)
        assert status(said) == 200 and body(said)["sha256"] == digest(jpeg())


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", (400, "bad-json")),
        (b"\xff", (400, "bad-json")),
        (b"{}", (422, "bad-json")),
        (b"[1]", (422, "bad-json")),
        (as_json(image="aGk=", url="http://127.0.0.1/"), (422, "bad-json")),
        (as_json(image=7), (422, "bad-base64")),
        (as_json(image=None), (422, "bad-base64")),
        (as_json(image="aGk"), (422, "bad-base64")),
        (as_json(image="aG k="), (422, "bad-base64")),
        (as_json(image="ä"), (422, "bad-base64")),
        (as_json(image="data:image/jpeg;base64,aGk="), (422, "bad-base64")),
        (as_json(image=""), (422, "empty-file")),
        (as_json(image="aGk=", threshold="0.5"), (422, "bad-threshold")),
        (as_json(image="aGk=", threshold=True), (422, "bad-threshold")),
        (as_json(image="aGk=", threshold=1.01), (422, "bad-threshold")),
        (b'{"image": "aGk=", "threshold": 1e999}', (422, "bad-threshold")),
        (b'{"image": "aGk=", "threshold": NaN}', (400, "bad-json")),
        (b'{"image": "aGk=", "image": "aG8="}', (400, "bad-json")),
        (as_json(image="aG\nk="), (422, "bad-base64")),
    ],
)
def test_json_that_is_wrong_is_refused_in_one_line(stub: Stub, data: bytes, wanted: tuple[int, str]) -> None:
    said = stub.post(data, JSON_TYPE)
    assert code(said) == wanted and said.partition(b"\r\n\r\n")[2].count(b"\n") == 1


def test_the_threshold_is_given_once(stub: Stub) -> None:
    data = as_json(image=base64_of(jpeg()), threshold=0.5)
    assert code(stub.post(data, JSON_TYPE, path="/v1/predict?threshold=0.4")) == (422, "bad-threshold")


def test_the_limit_of_a_file_is_the_same_in_json() -> None:
    with stub_server(max_body_bytes=30_000, max_held_bytes=10**6) as stub:
        assert status(stub.post(as_json(image=base64_of(bytes(30_000))), JSON_TYPE)) == 200
        for data in (as_json(image=base64_of(bytes(30_001))), as_json(image="A" * 90_000), b" " * 90_000):
            assert code(stub.post(data, JSON_TYPE)) == (413, "too-large-body")
