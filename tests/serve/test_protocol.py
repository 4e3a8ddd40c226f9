from __future__ import annotations

import contextlib
import resource
import socket
import time

import psutil
import pytest

from tests.serve.conftest import Program, Stub, code, get, heard, jpeg, post, status, stub_server, talk, until

HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"


@pytest.mark.parametrize(
    ("first", "then", "wanted"),
    [
        (b"", b"", 0),  # never says a word
        (b"GET / HT", b"T", 408),  # one byte of a head at a time
        (HEAD + b"Content-Length: 9000\r\n\r\n", b"x", 408),  # one byte of a body at a time
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 408),
    ],
    ids=["silent", "head", "body", "chunks"],
)
def test_h5_a_slow_client_is_disconnected_within_two_windows(
    stub: Stub, first: bytes, then: bytes, wanted: int
) -> None:
    with socket.create_connection(("127.0.0.1", stub.port), timeout=10) as client:
        start = time.monotonic()
        client.sendall(first)
        client.settimeout(0.1)
        said = b""
        while time.monotonic() - start < 8:
            try:
                chunk = client.recv(4096)
                said += chunk
                if not chunk:
                    break
            except TimeoutError:
                with contextlib.suppress(ConnectionError):
                    client.sendall(then)
            except ConnectionError:
                break
        taken = time.monotonic() - start
    assert taken < 2 * stub.settings.window_s + 1.5
    assert status(said) == wanted


def test_h5_a_slow_reader_is_disconnected(stub: Stub) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", stub.port))
        client.settimeout(5)
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        dropped = False
        start = time.monotonic()
        while time.monotonic() - start < 8 and not dropped:
            try:
                client.sendall(ask * 20)  # each answer is some kilobytes, and none is read
                time.sleep(0.02)
            except (ConnectionError, TimeoutError):
                dropped = True
        assert dropped


def test_h5_a_slow_but_steady_upload_succeeds(stub: Stub) -> None:
    body = jpeg((200, 200))
    step = 2 * stub.settings.window_bytes
    with socket.create_connection(("127.0.0.1", stub.port), timeout=10) as client:
        client.sendall(HEAD + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body))
        for start in range(0, len(body), step):
            client.sendall(body[start : start + step])
            time.sleep(stub.settings.window_s / 2)
        assert status(heard(client)) == 200


def test_h5_other_clients_are_served_beside_two_hundred_slow_connections() -> None:
    with stub_server(window_s=1.5) as stub, contextlib.ExitStack() as stack:
        for _ in range(200):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", stub.port)))
            client.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: loc")
        start = time.monotonic()
        assert [status(stub.post(jpeg(), "Content-Type: image/jpeg")) for _ in range(10)] == [200] * 10
        assert time.monotonic() - start < 1.4, "they were served while the slow ones were still there"


def test_h6_excess_connections_get_503_until_others_close() -> None:
    with stub_server(max_connections=50) as stub, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", stub.port))) for _ in range(50)]
        time.sleep(0.1)
        with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as client:
            assert code(heard(client)) == (503, "too-many-connections")
        assert len(idle) == 50
        time.sleep(2 * stub.settings.window_s + 0.3)  # the idle ones have been let go by now
        assert status(stub.ask(get("/healthz"))) == 200


def test_h6_the_server_survives_a_thousand_idle_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2600  # both ends are in this process
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("needs 2,600 open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        with stub_server(max_connections=800) as stub:
            with contextlib.ExitStack() as stack:
                for _ in range(1000):
                    stack.enter_context(socket.create_connection(("127.0.0.1", stub.port), timeout=10))
            until(lambda: status(stub.ask(get("/healthz"))) == 200, 5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_h6_the_server_survives_running_out_of_file_descriptors(program: Program) -> None:
    process = psutil.Process(program.process.pid)
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 10, before[1]))
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(18):
                stack.enter_context(socket.create_connection(("127.0.0.1", program.port), timeout=10))
            start = time.monotonic()
            assert status(program.ask(get("/healthz"))) == 200, "the idle ones were let go"
            assert time.monotonic() - start < 30
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 4", "Transfer-Encoding: chunked"],
        ["Content-Length: 4", "Content-Length: 5"],
        ["Content-Length: 4", "Content-Length: 4"],
        ["Content-Length: 4, 5"],
        ["Content-Length: -1"],
        ["Content-Length: 0x4"],
        ["Content-Length : 4"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: chunked, identity"],
    ],
    ids=str,
)
def test_h14_a_body_with_two_lengths_is_refused(stub: Stub, lines: list[str]) -> None:
    head = "\r\n".join(["POST /v1/predict HTTP/1.1", "Host: localhost", "Content-Type: image/jpeg", *lines, "", ""])
    smuggled = b"0\r\n\r\nGET /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\n"
    said = stub.ask(head.encode() + smuggled)
    assert status(said) in (400, 501)
    assert said.count(b"HTTP/1.1 ") == 1, "the second request was read"


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (get("/" + "a" * 5_000), (414, "too-long-address")),
        (get("/" + "a" * 100_000), (414, "too-long-address")),
        (get("/", "X: " + "a" * 20_000), (431, "too-long-head")),
        (get("/", *["X: a"] * 5_000), (431, "too-long-head")),
        (b"GET /\r\n\r\n", (400, "bad-request")),  # HTTP/0.9
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", (400, "bad-request")),  # TLS
        (get("/v1/predict"), (405, "wrong-method")),
        (get("/").replace(b"GET", b"BREW"), (405, "wrong-method")),
        (b"GET / HTTP/1.1\r\n\r\n", (400, "bad-request")),  # no Host
    ],
    ids=["address", "huge address", "header", "headers", "0.9", "tls", "get", "brew", "no host"],
)
def test_h15_a_too_long_or_malformed_head_gets_its_own_code(stub: Stub, data: bytes, wanted: tuple[int, str]) -> None:
    assert code(stub.ask(data)) == wanted


def test_a_connection_serves_one_request_after_another(stub: Stub) -> None:
    with socket.create_connection(("127.0.0.1", stub.port), timeout=5) as client:
        client.sendall(post(jpeg(), "Content-Type: image/jpeg", close=False) * 3 + get("/healthz"))
        assert heard(client).count(b"HTTP/1.1 200 OK") == 4


def test_refusals_by_the_protocol_are_counted(stub: Stub) -> None:
    talk(stub.port, b"GET /\r\n\r\n")
    assert b'singleshot_http_responses_total{code="400"}' in stub.ask(get("/metrics"))
