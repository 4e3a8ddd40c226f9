from __future__ import annotations

import asyncio
import socket
import threading
import time
import tracemalloc
from typing import Any

import psutil
from starlette.requests import Request

from singleshot.serve.bodies import Held
from singleshot.serve.settings import Settings
from tests.serve.conftest import Program, Stub, code, get, heard, jpeg, status, stub_server

HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"


def test_h3_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(stub: Stub) -> None:
    with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as client:
        client.sendall(HEAD + b"Content-Length: 300000000\r\n\r\n")  # and not a byte of it
        assert code(heard(client)) == (413, "too-large-body")


def test_h3_the_answer_arrives_though_the_client_sends_on(stub: Stub) -> None:
    with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as client:
        client.sendall(HEAD + b"Content-Length: 1500000\r\n\r\n" + bytes(1_500_000))
        assert code(heard(client)) == (413, "too-large-body")


def test_h4_a_chunked_body_is_refused_at_the_cap(stub: Stub) -> None:
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


def test_h4_a_chunked_body_just_above_the_cap_is_told_so(stub: Stub) -> None:
    size = stub.settings.max_body_bytes + 1
    with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n")
        assert code(heard(client)) == (413, "too-large-body")


def test_h4_a_body_shorter_than_it_said_is_let_go(stub: Stub) -> None:
    with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as client:
        client.sendall(HEAD + b"Content-Length: 5000\r\n\r\nshort")
        client.shutdown(socket.SHUT_WR)
        assert heard(client) == b""
    assert status(stub.ask(get("/healthz"))) == 200


def test_a_body_is_held_once_and_let_go() -> None:
    chunk = bytes(4 << 20)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": bytes(chunk[1:]), "more_body": len(sent) < 3 and not sent.append(1)}

    sent: list[int] = []

    async def main() -> int:
        held = Held(Settings(max_body_bytes=1 << 30))
        async with held.body(Request({"type": "http", "method": "POST", "headers": []}, receive)) as body:
            size, traced = len(body), tracemalloc.get_traced_memory()[0]
            assert held.count == size and traced - before < 1.5 * size
        return held.count

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        assert asyncio.run(main()) == 0
    finally:
        tracemalloc.stop()


def test_uploads_together_have_a_cap_too() -> None:
    with stub_server(max_held_bytes=300_000, window_s=5.0) as stub:
        with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as first:
            first.sendall(HEAD + b"Content-Length: 280000\r\n\r\n" + bytes(270_000))
            time.sleep(0.2)
            said = stub.post(jpeg((300, 300)), "Content-Type: image/jpeg")
            assert code(said) == (503, "busy") and b"retry-after: 1" in said
        time.sleep(0.2)
        assert status(stub.post(jpeg((300, 300)), "Content-Type: image/jpeg")) == 200, "the first one's bytes are free"


def test_an_answer_before_the_body_does_not_read_on_for_ever(stub: Stub) -> None:
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


def test_h3_h4_memory_stays_flat_under_bodies_that_are_too_large(program: Program) -> None:
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
