from __future__ import annotations

import pytest

from singleshot.serve import uploads
from singleshot.serve.refusal import Refusal
from tests.serve.conftest import Stub, body, code, digest, jpeg, status

EDGE = "multipart/form-data; boundary=edge"


def part(data: bytes, *, name: str = "image", head: str = '; filename="a.jpg"') -> bytes:
    return f'--edge\r\nContent-Disposition: form-data; name="{name}"{head}\r\n\r\n'.encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--edge--\r\n"


def test_a_body_and_a_form_give_the_same_bytes(stub: Stub) -> None:
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
def test_h9_a_form_that_is_none_is_refused_in_one_line(
    stub: Stub, data: bytes, content_type: str, wanted: tuple[int, str]
) -> None:
    said = stub.post(data, f"Content-Type: {content_type}")
    assert code(said) == wanted
    assert said.partition(b"\r\n\r\n")[2].count(b"\n") == 1


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/json", "application/x-www-form-urlencoded", "video/mp4", "text/html", "imagejpeg"],
)
def test_h10_another_type_is_refused_before_the_body_is_read(stub: Stub, content_type: str) -> None:
    assert code(stub.post(jpeg(), f"Content-Type: {content_type}")) == (415, "unsupported-type")


@pytest.mark.parametrize("name", ["../../etc/passwd", "%2e%2e%2fpasswd", "a\\0b", "x" * 2000, "C:\\\\con"])
def test_h12_the_name_of_an_upload_is_no_matter(stub: Stub, name: str) -> None:
    said = stub.post(form(part(jpeg(), head=f'; filename="{name}"')), f"Content-Type: {EDGE}")
    assert status(said) == 200 and body(said)["sha256"] == digest(jpeg())


def test_a_picture_that_holds_the_boundary_is_cut_nowhere_else() -> None:
    tricky = b"\xff\xd8--edg\r\n--edg\r\n\r\n-- edge--"
    assert uploads.picture(form(part(tricky)), EDGE) == tricky


def test_a_type_is_judged_by_its_first_part() -> None:
    with pytest.raises(Refusal):
        uploads.check_type("text/html; image/jpeg")
