from __future__ import annotations

import pytest

from singleshot.serve.security import PAGE
from tests.serve.conftest import Stub, code, get, jpeg, post, status, stub_server


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("192.168.0.7", 200),  # an address in numbers cannot be rebound
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example@localhost", 200),  # the name is localhost
        ("localhost@evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_h18_unknown_host_names_get_421(stub: Stub, host: str, wanted: int) -> None:
    assert status(stub.ask(get("/v1/model", host=host))) == wanted


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        ("http://localhost", 200),
        ("https://localhost", 200),  # behind a proxy that speaks TLS
        ("http://localhost:3000", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("http://[::1", 403),
    ],
)
def test_h18_other_origins_get_403(stub: Stub, origin: str, wanted: int) -> None:
    said = stub.post(jpeg(), "Content-Type: image/jpeg", f"Origin: {origin}")
    assert status(said) == wanted
    assert b"access-control-allow" not in said


def test_an_allowed_host_is_answered() -> None:
    with stub_server(allowed_hosts=("cells.example",)) as stub:
        assert status(stub.ask(get("/healthz", host="cells.example:443"))) == 200


def test_with_a_token_only_the_page_and_healthz_are_open() -> None:
    with stub_server(token="a secret of ours") as stub:
        for path in [*PAGE, "/healthz"]:
            assert status(stub.ask(get(path))) == 200
        for path in ("/v1/model", "/metrics", "/openapi.json", "/nothing"):
            assert code(stub.ask(get(path))) == (401, "no-token")
        for shown in ("a secret of our", "a secret of ourss", "", "ä secret of ours"):
            assert status(stub.ask(get("/v1/model", f"Authorization: Bearer {shown}"))) in (400, 401)
        assert code(stub.ask(post(jpeg(), "Content-Type: image/jpeg"))) == (401, "no-token")
        assert status(stub.ask(get("/v1/model", "Authorization: Bearer a secret of ours"))) == 200


@pytest.mark.parametrize("path", ["/", "/v1/model", "/nothing", "/v1/predict"])
def test_h17_every_response_has_a_policy_against_other_sources(stub: Stub, path: str) -> None:
    head = stub.ask(get(path)).partition(b"\r\n\r\n")[0]
    assert b"content-security-policy: default-src 'self';" in head
    assert b"unsafe" not in head and b"x-content-type-options: nosniff" in head


def test_pages_of_an_allowed_origin_may_call_the_server_and_no_others() -> None:
    ours = "https://app.example.org"
    with stub_server(cors_origins=(ours, "http://localhost:3000"), token="a secret of ours") as stub:
        token = "Authorization: Bearer a secret of ours"
        said = stub.post(jpeg(), "Content-Type: image/jpeg", f"Origin: {ours}", token)
        assert status(said) == 200 and f"access-control-allow-origin: {ours}\r\n".encode() in said
        assert b"vary: Origin\r\n" in said and b"cross-origin-resource-policy: cross-origin\r\n" in said
        assert b"access-control-allow-credentials" not in said
        for other in ("https://evil.example", "https://app.example.org.evil.example", "http://app.example.org", "null"):
            said = stub.post(jpeg(), "Content-Type: image/jpeg", f"Origin: {other}", token)
            assert code(said) == (403, "foreign-origin") and b"access-control-allow" not in said
        said = stub.ask(get("/v1/model", f"Origin: {ours}"))
        assert code(said) == (401, "no-token") and b"access-control-allow-origin" in said, "its page can read why"
        assert b"vary: Origin" in stub.ask(get("/healthz"))


def test_a_preflight_is_answered_without_the_token_and_for_allowed_origins_only() -> None:
    def preflight(origin: str, host: str = "localhost") -> bytes:
        lines = ["OPTIONS /v1/predict HTTP/1.1", f"Host: {host}", f"Origin: {origin}", "Connection: close"]
        lines += ["Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type"]
        return "\r\n".join([*lines, "", ""]).encode()

    with stub_server(cors_origins=("https://app.example.org",), token="a secret of ours") as stub:
        said = stub.ask(preflight("https://app.example.org"))
        assert status(said) == 204 and b"access-control-allow-headers: Authorization, Content-Type\r\n" in said
        assert b"access-control-allow-methods: GET, POST\r\n" in said and stub.batches == []
        assert status(stub.ask(preflight("https://evil.example"))) == 403
        assert status(stub.ask(preflight("https://app.example.org", host="evil.example"))) == 421
    with stub_server() as stub:
        assert status(stub.ask(preflight("https://app.example.org"))) == 403
