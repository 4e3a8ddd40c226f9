from __future__ import annotations

import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from singleshot.errors import CannotCreateError, DataError, UnreachableError
from singleshot.storage import download

CONTENT = bytes(range(256)) * 4000  # a megabyte: four chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; `breaks` is after how many bytes each of the next connections is cut off."""

    breaks: list[int]
    ranges: list[str | None]
    statuses: list[int]
    content: bytes
    knows_ranges: bool
    tag: str | None
    slow_s: float


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        content, start = self.server.content, 0
        time.sleep(self.server.slow_s)
        same = self.headers.get("If-Range") in (None, self.server.tag)
        if asked and self.server.knows_ranges and same:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if self.server.tag:
            self.send_header("ETag", self.server.tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        self.wfile.write(body[: self.server.breaks.pop(0)] if self.server.breaks else body)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server(("127.0.0.1", 0), Handler)
    found.breaks, found.ranges, found.statuses, found.content, found.knows_ranges = [], [], [], CONTENT, True
    found.tag, found.slow_s = None, 0.0
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/weights.pth"


def test_a_file_comes_whole_with_its_hash_and_its_progress(server: Server, tmp_path: Path):
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "new" / "weights.pth"
    found = download.fetch(
        url(server), to=target, sha256=SHA256, observer=lambda done, total: seen.append((done, total))
    )
    assert found == target and target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)
    assert [path.name for path in target.parent.iterdir()] == ["weights.pth"]


def test_a_file_with_the_right_hash_is_not_downloaded_again(server: Server, tmp_path: Path):
    target = tmp_path / "w"
    target.write_bytes(CONTENT)
    md5 = hashlib.md5(CONTENT).hexdigest()
    assert download.fetch(url(server), to=target, sha256=SHA256[:8], md5=md5) == target
    assert server.ranges == []
    target.write_bytes(b"old")
    download.fetch(url(server), to=target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_a_broken_connection_is_continued_where_it_broke(server: Server, tmp_path: Path):
    server.breaks = [300_000, 100_000]
    download.fetch(url(server), to=tmp_path / "w", sha256=SHA256, wait_s=0.0)
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=400000-"]


def test_a_later_call_continues_an_earlier_download(server: Server, tmp_path: Path):
    (tmp_path / "w.part").write_bytes(CONTENT[:12_345])
    download.fetch(url(server), to=tmp_path / "w", sha256=SHA256)
    assert server.ranges == ["bytes=12345-"] and (tmp_path / "w").read_bytes() == CONTENT


def test_a_start_that_belongs_to_another_file_is_fetched_again(server: Server, tmp_path: Path):
    (tmp_path / "w.part").write_bytes(b"x" * 1000)
    download.fetch(url(server), to=tmp_path / "w", sha256=SHA256)
    assert server.ranges == ["bytes=1000-", None] and (tmp_path / "w").read_bytes() == CONTENT


def test_a_start_longer_than_the_file_is_fetched_again(server: Server, tmp_path: Path):
    (tmp_path / "w.part").write_bytes(CONTENT + b"more")
    download.fetch(url(server), to=tmp_path / "w", sha256=SHA256, wait_s=0.0)
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_a_server_that_knows_no_ranges_is_read_from_the_start(server: Server, tmp_path: Path):
    server.knows_ranges = False
    (tmp_path / "w.part").write_bytes(CONTENT[:500_000])
    download.fetch(url(server), to=tmp_path / "w", sha256=SHA256)
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_a_wrong_hash_is_65_and_nothing_is_kept(server: Server, tmp_path: Path):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DataError, match="its SHA256 is") as caught:
        download.fetch(url(server), to=tmp_path / "w", sha256=SHA256[:8])
    assert caught.value.exit_code == 65 and url(server) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_busy_for_a_moment_is_asked_again(server: Server, tmp_path: Path):
    server.statuses = [503, 429]
    download.fetch(url(server), to=tmp_path / "w", sha256=SHA256, wait_s=0.0)
    assert len(server.ranges) == 3


def test_a_file_that_is_not_there_is_69_at_once(server: Server, tmp_path: Path):
    server.statuses = [404]
    with pytest.raises(UnreachableError, match="404") as caught:
        download.fetch(url(server), to=tmp_path / "w")
    assert caught.value.exit_code == 69 and len(server.ranges) == 1


def test_a_connection_without_progress_is_given_up_and_the_part_stays(server: Server, tmp_path: Path):
    server.breaks = [400_000, 0, 0, 0, 0]
    with pytest.raises(UnreachableError, match=r"0\.4 MB are kept, run again"):
        download.fetch(url(server), to=tmp_path / "w", sha256=SHA256, wait_s=0.0)
    assert (tmp_path / "w.part").read_bytes() == CONTENT[:400_000] and not (tmp_path / "w").exists()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/w.pth", "http://nowhere.invalid/w.pth"])
def test_no_network_is_69_in_one_line(address: str, tmp_path: Path):
    with pytest.raises(UnreachableError) as caught:
        download.fetch(address, to=tmp_path / "w", wait_s=0.0)
    assert address in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://host/w", "weights.pth"])
def test_only_the_web_is_fetched_from(address: str, tmp_path: Path):
    with pytest.raises(UnreachableError, match="neither an http nor an https"):
        download.fetch(address, to=tmp_path / "w")


def test_a_target_below_a_file_cannot_be_made(server: Server, tmp_path: Path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(CannotCreateError):
        download.fetch(url(server), to=tmp_path / "file" / "w")


def test_an_empty_file_is_a_file(server: Server, tmp_path: Path):
    server.content = b""
    assert download.fetch(url(server), to=tmp_path / "w").read_bytes() == b""


def test_two_that_want_one_file_take_turns_and_the_second_finds_it(server: Server, tmp_path: Path):
    server.slow_s = 0.3
    threads = [
        threading.Thread(target=download.fetch, args=(url(server),), kwargs={"to": tmp_path / "w", "sha256": hashed})
        for hashed in (SHA256, SHA256, SHA256[:8])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert server.ranges == [None] and (tmp_path / "w").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


@pytest.mark.parametrize("hashed", [SHA256, None])
def test_a_start_is_continued_only_if_the_server_still_has_that_version(
    server: Server, tmp_path: Path, hashed: str | None
):
    server.tag, server.content, server.breaks = '"old"', b"o" * len(CONTENT), [400_000, 0, 0, 0]
    with pytest.raises(UnreachableError, match="are kept"):
        download.fetch(url(server), to=tmp_path / "w", sha256=hashed, wait_s=0.0)
    assert {path.name for path in tmp_path.iterdir()} == {"w.part", "w.part.tag"}
    server.tag, server.content, server.ranges, server.breaks = '"new"', CONTENT, [], []
    download.fetch(url(server), to=tmp_path / "w", sha256=hashed, wait_s=0.0)
    assert server.ranges == ["bytes=400000-"] and (tmp_path / "w").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_without_hash_and_version_a_start_is_not_trusted(server: Server, tmp_path: Path):
    (tmp_path / "w.part").write_bytes(b"o" * 1000)
    download.fetch(url(server), to=tmp_path / "w", wait_s=0.0)
    assert server.ranges == [None] and (tmp_path / "w").read_bytes() == CONTENT


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(server: Server, tmp_path: Path):
    server.knows_ranges = False
    server.breaks = [800_000, 600_000, 750_000, 500_000, 700_000, 400_000, 780_000, 300_000, 790_000, 200_000]
    with pytest.raises(UnreachableError, match="cannot be fetched"):
        download.fetch(url(server), to=tmp_path / "w.pth", sha256=SHA256, wait_s=0.001)
    assert server.breaks  # each brought more than the one before it at times, and none more than the first
