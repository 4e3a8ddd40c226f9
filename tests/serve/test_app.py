from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from singleshot.serve.app import ServedModel, build
from singleshot.serve.batcher import Batcher
from singleshot.serve.metrics import Metrics
from singleshot.serve.server import http_server
from tests.serve.conftest import (
    FACTS,
    QUICK,
    Stub,
    body,
    code,
    digest,
    get,
    jpeg,
    post,
    started,
    status,
    stub_server,
    until,
)

watched: list[tuple[str, str]] = []
watching: list[int] = []  # the thread that is watched; a hook cannot be taken off again


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if watching and threading.get_ident() == watching[0] and event in ("open", "socket.connect", "subprocess.Popen"):
        watched.append((event, str(arguments[:2])))


@contextmanager
def watch(stub: Stub) -> Iterator[list[tuple[str, str]]]:
    """What the server's thread opens, connects to and starts meanwhile."""
    stub.post(jpeg(), "Content-Type: image/jpeg")  # what the test suite's own import hook reads, it has read by now
    if hook not in installed:
        sys.addaudithook(hook)
        installed.append(hook)
    assert stub.thread is not None and stub.thread.ident is not None
    watched.clear()
    watching.append(stub.thread.ident)
    try:
        yield watched
    finally:
        watching.clear()


installed: list[Any] = []


@pytest.mark.parametrize("path", ["/../", "/%2e%2e/", "/..%2f", "/page/../", "/app.js/../../", "/%00", "/style.css%00"])
def test_h12_no_path_reads_a_file_of_the_server(stub: Stub, path: str) -> None:
    with watch(stub) as seen:
        for tail in ("etc/passwd", "pyproject.toml", "server.py", "a" * 3000, "%2e%2e%2f" * 20 + "etc/passwd", ""):
            assert status(stub.ask(get(path + tail))) in (404, 400)
    assert seen == []


def test_h13_urls_in_a_request_are_never_fetched(stub: Stub) -> None:
    playlist = b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n"
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:9/x.png"/></svg>'
    with watch(stub) as seen:
        for data in (playlist, svg, b"http://127.0.0.1:9/x.jpg"):
            stub.post(data, "Content-Type: image/svg+xml", path="/v1/predict?url=http://127.0.0.1:9/&image=file:///etc")
    assert seen == []


@pytest.mark.parametrize("threshold", ["nan", "inf", "-0.1", "1.01", "", "x", "0.5&threshold=2", "[0.5]", "1e999"])
def test_h16_an_invalid_threshold_gets_422(stub: Stub, threshold: str) -> None:
    said = stub.post(jpeg(), "Content-Type: image/jpeg", path=f"/v1/predict?threshold={threshold}")
    assert code(said) == (422, "bad-threshold")


def test_h16_json_that_is_none_gets_400(stub: Stub) -> None:
    for data in (b"[" * 100_000, b'{"threshold": NaN}', b'{"a":' * 50_000):
        assert code(stub.post(data, "Content-Type: application/json")) == (400, "bad-json")


def test_h19_an_internal_error_reveals_nothing() -> None:
    with stub_server() as stub:
        stub.failure = RuntimeError("/home/me/secret.safetensors psm_4711")
        said = stub.post(jpeg(), "Content-Type: image/jpeg")
        assert code(said) == (500, "internal")
        for secret in (b"secret", b"psm_", b"Traceback", b"RuntimeError", b"/home", b".py"):
            assert secret not in said
        stub.failure = None
        assert status(stub.post(jpeg(), "Content-Type: image/jpeg")) == 200


def test_h19_errors_carry_the_request_id_of_the_header(stub: Stub) -> None:
    said = stub.ask(get("/nothing"))
    number = body(said)["error"]["request_id"]
    assert f"x-request-id: {number}".encode() in said and len(number) == 12


def test_h7_concurrent_requests_get_200_or_503_with_retry_after() -> None:
    with stub_server(batch_size=8, queue_size=16, window_s=5.0) as stub:
        stub.delay_s = 0.05
        taken: list[tuple[int, float]] = []

        def ask(seed: int) -> None:
            picture = jpeg(seed=seed % 20)
            start = time.monotonic()
            said = stub.post(picture, "Content-Type: image/jpeg", path="/v1/predict")
            taken.append((status(said), time.monotonic() - start))
            if status(said) == 503:
                assert b"retry-after: 1\r\n" in said
            else:
                assert body(said)["sha256"] == digest(picture)

        with ThreadPoolExecutor(64) as pool:
            list(pool.map(ask, range(256)))
        statuses = {each for each, _ in taken}
        assert statuses == {200, 503}
        # Three batches of 50 ms are the longest that a picture can wait; the rest is this test's own 64 threads.
        assert sorted(seconds for _, seconds in taken)[int(0.99 * 256)] < 3.0


def test_h8_a_disconnected_clients_work_is_dropped_and_its_memory_freed() -> None:
    with stub_server(batch_size=1, queue_size=16) as stub:
        stub.delay_s = 0.3
        first = threading.Thread(target=stub.post, args=(jpeg(), "Content-Type: image/jpeg"))
        first.start()
        until(lambda: stub.batches)
        for _ in range(10):
            with socket.create_connection(("127.0.0.1", stub.port)) as client:
                client.sendall(post(jpeg(), "Content-Type: image/jpeg"))
                time.sleep(0.02)
        first.join()
        stub.delay_s = 0.0
        text = ""

        def idle() -> bool:
            nonlocal text
            text = stub.ask(get("/metrics")).decode()
            return 'singleshot_queued_images{model="stub.safetensors"} 0\n' in text and "_held_bytes 0\n" in text

        until(idle, 5)
        assert len(stub.batches) < 5, "most of those who left were left out"


def test_h24_each_client_gets_the_response_to_its_own_image() -> None:
    pictures = [jpeg((20, 20 + i), seed=i) for i in range(40)]
    with stub_server(latency_s=0.002, window_s=5.0) as stub, httpx.Client(base_url=stub.address, timeout=30) as client:

        def ask(i: int) -> bool:
            picture = pictures[i % 40]
            if i % 3:
                answer = client.post("/v1/predict", content=picture, headers={"content-type": "image/jpeg"})
            else:
                answer = client.post("/v1/predict", files={"image": ("same-name.jpg", picture)})
            return answer.json()["sha256"] == digest(picture)

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(ask, range(600)))
        assert max(stub.batches) > 1


def test_clients_get_retry_after_while_the_worker_is_down() -> None:
    with stub_server() as stub:
        stub.is_up = False
        said = stub.post(jpeg(), "Content-Type: image/jpeg")
        assert code(said) == (503, "no-worker") and b"retry-after" in said
        assert status(stub.ask(get("/healthz"))) == 503
        assert status(stub.ask(get("/v1/model"))) == 200


def test_openapi_describes_the_request_and_the_responses(stub: Stub) -> None:
    api = httpx.get(f"{stub.address}/openapi.json").json()
    assert set(api["paths"]) == {"/v1/predict", "/v1/model", "/v1/models", "/healthz", "/metrics"}
    predict = api["paths"]["/v1/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {"image/*", "multipart/form-data", "application/json"}
    assert {"200", "400", "404", "413", "415", "422", "503"} <= set(predict["responses"])
    assert httpx.get(f"{stub.address}/docs").status_code == 404, "it would load scripts from elsewhere"


def test_the_settings_of_these_tests_differ_from_the_defaults_in_time_and_size_only() -> None:
    assert QUICK.window_s < 1 < QUICK.answer_s


@pytest.mark.parametrize("path", ["/v1/predict?thresholds=0.9", "/v1/predict?threshold=0.5&x="])
def test_an_unknown_query_name_is_refused_with_the_known_one(stub: Stub, path: str) -> None:
    answer = stub.post(jpeg(), "Content-Type: image/jpeg", path=path)
    assert code(answer) == (422, "unknown-parameter") and "threshold" in body(answer)["error"]["message"]
    assert code(stub.ask(get("/v1/model?x=1"))) == (422, "unknown-parameter")


@pytest.mark.parametrize("path", ["/v1/predict?threshold=0.5&threshold=0.6", "/v1/predict?model=stub&model=stub"])
def test_a_query_name_that_is_given_twice_is_refused(stub: Stub, path: str) -> None:
    assert code(stub.post(jpeg(), "Content-Type: image/jpeg", path=path)) == (422, "repeated-parameter")


def test_every_error_of_the_description_has_a_request_id(stub: Stub) -> None:
    responses = httpx.get(f"{stub.address}/openapi.json").json()["paths"]["/v1/predict"]["post"]["responses"]
    errors = [each["content"]["application/json"]["schema"] for number, each in responses.items() if number != "200"]
    assert errors and all("request_id" in schema["properties"]["error"]["required"] for schema in errors)


@pytest.mark.parametrize("path", ["/healthz", "/v1/model", "/metrics", "/"])
def test_head_has_the_status_of_get_and_no_body(stub: Stub, path: str) -> None:
    answer = stub.ask(get(path).replace(b"GET ", b"HEAD ", 1))
    assert status(answer) == 200 == status(stub.ask(get(path))) and answer.endswith(b"\r\n\r\n")


def test_refusals_before_the_application_carry_a_request_id_too(stub: Stub) -> None:
    answer = stub.ask(b"GET / HTTP/9.9\r\n\r\n")
    assert status(answer) >= 400 and body(answer)["error"]["request_id"].encode() in answer.partition(b"\r\n\r\n")[0]


def test_several_models_answer_under_their_names_and_the_first_without_one() -> None:
    with two_models() as (stub, seen):
        for path, name in (("", "a"), ("?model=a", "a"), ("?model=b", "b"), ("?model=b&threshold=0.3", "b")):
            seen.clear()
            assert status(stub.post(jpeg(), "Content-Type: image/jpeg", path=f"/v1/predict{path}")) == 200
            assert seen == [name]
        shown = body(stub.ask(get("/v1/models")))["models"]
        assert [each["name"] for each in shown] == ["a", "b"]
        assert body(stub.ask(get("/v1/model?model=b")))["name"] == "b"
        assert body(stub.ask(get("/v1/model")))["name"] == "a"
        for path in ("/v1/model?model=c", "/v1/model?model="):
            said = stub.ask(get(path))
            assert code(said) == (404, "unknown-model") and "a, b" in body(said)["error"]["message"]
        said = stub.post(jpeg(), "Content-Type: image/jpeg", path="/v1/predict?model=../a")
        assert code(said) == (404, "unknown-model")


def test_one_model_that_is_down_leaves_the_other_working_and_fails_the_health_check() -> None:
    with two_models() as (stub, _seen):
        stub.is_up = False  # that of b alone
        assert code(stub.post(jpeg(), "Content-Type: image/jpeg", path="/v1/predict?model=b")) == (503, "no-worker")
        assert status(stub.post(jpeg(), "Content-Type: image/jpeg", path="/v1/predict?model=a")) == 200
        assert status(stub.ask(get("/healthz"))) == 503
        text = stub.ask(get("/metrics"))
        assert b'singleshot_worker_up{model="a"} 1' in text and b'singleshot_worker_up{model="b"} 0' in text


class _TwoModels(Stub):
    """A stub with a model `a` that is always up and `b` that is up when the stub is; `seen` tells who answered."""

    seen: list[str]

    async def serve(self, listener: socket.socket) -> None:
        metrics = Metrics(["a", "b"])

        def answering(name: str) -> Any:
            async def run(batch: Any) -> Any:
                self.seen.append(name)
                return await self.run(batch)

            return run

        def ignore(_count: int, _seconds: float) -> None: ...

        up = Stub(self.settings)
        async with (
            Batcher(answering("a"), self.settings, ignore) as first,
            Batcher(answering("b"), self.settings, ignore) as second,
        ):
            models = [
                ServedModel(FACTS | {"name": "a"}, first, up),
                ServedModel(FACTS | {"name": "b"}, second, self),
            ]
            self.server = http_server(build(self.settings, models, metrics), self.settings, metrics)
            await self.server.serve(sockets=[listener])


@contextmanager
def two_models() -> Iterator[tuple[Stub, list[str]]]:
    stub = _TwoModels(QUICK)
    stub.seen = []
    with started(stub):
        yield stub, stub.seen
