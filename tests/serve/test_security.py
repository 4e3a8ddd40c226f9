from __future__ import annotations

import pytest

from singleshot.errors import UsageError
from singleshot.serve.security import PAGE
from singleshot.serve.settings import Settings
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


TOKEN = "a secret of ours"


@pytest.mark.parametrize("passes_host", [True, False])
def test_the_page_works_behind_a_proxy_that_terminates_tls(passes_host: bool) -> None:
    """A browser sends the proxy's address as Origin; a proxy passes Host on, or sends its own name for us."""
    host = "cells.example" if passes_host else "127.0.0.1:8000"
    bearer = f"Authorization: Bearer {TOKEN}"
    with stub_server(public_url="https://cells.example", token=TOKEN) as stub:
        for path in PAGE:
            assert status(stub.ask(get(path, host=host))) == 200
        for origin, wanted in (
            ("https://cells.example", 200),
            ("https://cells.example.evil.example", 403),
            ("https://evil.example", 403),
            ("http://cells.example:8080", 403),
        ):
            request = post(jpeg(), "Content-Type: image/jpeg", bearer, f"Origin: {origin}", host=host)
            said = stub.ask(request)
            assert status(said) == wanted, (origin, said)
            assert b"access-control-allow-origin" not in said
        assert code(stub.ask(get("/v1/model", host="evil.example"))) == (421, "unknown-host")


def test_without_the_public_url_a_proxy_that_keeps_host_to_itself_is_refused() -> None:
    with stub_server() as stub:
        said = stub.ask(post(jpeg(), "Content-Type: image/jpeg", "Origin: https://cells.example", host="127.0.0.1"))
        assert code(said) == (403, "foreign-origin")


@pytest.mark.parametrize("url", ["cells.example", "https://cells.example/app", "ftp://cells.example", "*"])
def test_a_public_url_is_an_origin_and_needs_a_token(url: str) -> None:
    with pytest.raises(UsageError, match="not an address"):
        Settings(public_url=url, token=TOKEN)
    with pytest.raises(UsageError, match="there is no token"):
        Settings(public_url="https://cells.example")


def test_no_refusal_tells_a_client_of_options_or_files_that_it_does_not_have() -> None:
    image = jpeg()
    with stub_server(token=TOKEN) as stub:
        bearer = f"Authorization: Bearer {TOKEN}"
        refused = [
            get("/v1/model", host="evil.example"),
            get("/v1/model"),
            get("/nothing", bearer),
            get("/v1/model?tresholds=1", bearer),
            get("/v1/model?model=none", bearer),
            get("/v1/predict", bearer),
            post(image, "Content-Type: image/jpeg", bearer, "Origin: https://evil.example"),
            post(image, "Content-Type: text/plain", bearer),
            post(b"", "Content-Type: image/jpeg", bearer),
            post(b"{", "Content-Type: application/json", bearer),
            post(b"{}", "Content-Type: application/json", bearer),
            post(b"x", "Content-Type: multipart/form-data", bearer),
        ]
        for request in refused:
            said = stub.ask(request)
            assert status(said) >= 400, said
            assert b"--" not in said.partition(b"\r\n\r\n")[2] and b"delete" not in said.lower(), said


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
