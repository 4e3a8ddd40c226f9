from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from singleshot.data import fetch as fetching
from singleshot.data.boxes import voc
from singleshot.data.boxes.voc_xml import annotation_xml
from singleshot.data.fetch import ARCHIVES, Archive, fetch
from singleshot.errors import CannotCreateError, DataError, UnreachableError, UsageError


class Handler(SimpleHTTPRequestHandler):
    """Serves files, whole or from a byte on; breaks the first answers off in the middle if told to."""

    asked: ClassVar[list[str]] = []
    break_off: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[1]
        Handler.asked.append(f"{name} {self.headers.get('Range', '')}".strip())
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            self.send_error(404)
            return
        data, start = file.read_bytes(), 0
        if self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if name in Handler.break_off:
            Handler.break_off.discard(name)
            self.wfile.write(data[start : start + len(data) // 3])
            return
        self.wfile.write(data[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    root = tmp_path / "server"
    (root / "mirror").mkdir(parents=True)
    Handler.asked, Handler.break_off = [], set()
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}/mirror/", root / "mirror"
    http.shutdown()
    thread.join()
    http.server_close()


def voc_tar(path: Path, year: str, split: str, names: list[str]) -> Archive:
    files: dict[str, bytes] = {f"ImageSets/Main/{split}.txt": "\n".join(names).encode()}
    rng = np.random.default_rng(len(names))
    for name in names:
        image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        files[f"JPEGImages/{name}.jpg"] = cv2.imencode(".jpg", image)[1].tobytes()
        text = annotation_xml(f"{name}.jpg", (40, 60), np.array([[1.0, 2.0, 30.0, 20.0]]), ["cat"])
        files[f"Annotations/{name}.xml"] = text.encode()
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"VOCdevkit/VOC{year}/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return Archive(path.name, f"voc{year}", hashlib.md5(path.read_bytes()).hexdigest(), 1 << 20)


@pytest.fixture
def archives(server: tuple[str, Path]) -> dict[str, tuple[Archive, ...]]:
    folder = server[1]
    return {
        "voc07": (
            voc_tar(folder / "trainval07.tar", "2007", "trainval", ["000001", "000002"]),
            voc_tar(folder / "test07.tar", "2007", "test", ["000003"]),
        ),
        "voc12": (voc_tar(folder / "trainval12.tar", "2012", "trainval", ["2008_1", "2008_2", "2008_3"]),),
    }


def test_both_years_come_out_ready_to_read_and_a_second_call_asks_nothing(server, archives, tmp_path: Path) -> None:
    out, told = tmp_path / "out", []
    options = {"mirror": server[0], "archives": archives, "wait_s": 0.0}
    found = fetch(["voc07", "voc12"], out, **options, observer=lambda *facts: told.append(facts))
    assert [path.name for path in found] == ["VOC2007", "VOC2012"]
    assert len(voc.read(out / "VOCdevkit/VOC2007", "trainval")) == 2
    assert len(voc.read(out / "VOCdevkit/VOC2007", "test")) == 1
    assert len(voc.read(out / "VOCdevkit/VOC2012", "trainval")) == 3
    assert {"trainval07.tar", "unpacking trainval07.tar"} <= {what for what, _, _ in told}
    assert sorted(path.name for path in (out / "archives").iterdir()) == [
        "test07.tar.json",
        "trainval07.tar.json",
        "trainval12.tar.json",
    ]
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    asked = len(Handler.asked)
    assert fetch(["voc12", "voc07"], out, **options) == found
    assert len(Handler.asked) == asked == 3
    shutil.rmtree(out / "VOCdevkit/VOC2012")  # the note that it was fetched is still there
    assert fetch(["voc12", "voc07"], out, **options) == found
    assert len(Handler.asked) == 4 and len(voc.read(out / "VOCdevkit/VOC2012", "trainval")) == 3


def test_a_broken_download_is_continued(server, archives, tmp_path: Path) -> None:
    Handler.break_off = {"trainval12.tar"}
    fetch(["voc12"], tmp_path / "out", mirror=server[0], archives=archives, wait_s=0.0, keep_archives=True)
    assert len(Handler.asked) == 2 and Handler.asked[1].startswith("trainval12.tar bytes=")
    assert (tmp_path / "out/archives/trainval12.tar").is_file()


def test_a_file_that_is_not_the_published_one_is_refused_and_not_unpacked(server, archives, tmp_path: Path) -> None:
    other = server[1] / "trainval12.tar"
    other.write_bytes(other.read_bytes().replace(b"cat", b"dog"))
    with pytest.raises(DataError, match="MD5") as raised:
        fetch(["voc12"], tmp_path / "out", mirror=server[0], archives=archives, wait_s=0.0)
    assert raised.value.exit_code == 65
    assert not (tmp_path / "out/VOCdevkit").exists()


def test_no_network_is_exit_code_69(archives, tmp_path: Path) -> None:
    options = {"archives": archives, "wait_s": 0.0}
    with pytest.raises(UnreachableError) as raised:
        fetch(["voc12"], tmp_path / "out", mirror="http://127.0.0.1:1", **options)
    assert raised.value.exit_code == 69
    with pytest.raises(UnreachableError):
        fetch(["voc12"], tmp_path / "out", mirror="ftp://127.0.0.1", **options)


def test_a_missing_file_on_a_mirror_is_reported(server, archives, tmp_path: Path) -> None:
    (server[1] / "trainval12.tar").unlink()
    with pytest.raises(UnreachableError, match="404"):
        fetch(["voc12"], tmp_path / "out", mirror=server[0], archives=archives, wait_s=0.0)


def test_a_users_file_is_not_replaced_and_a_cut_off_unpacking_is_finished(server, archives, tmp_path: Path) -> None:
    options = {"mirror": server[0], "archives": archives, "wait_s": 0.0, "keep_archives": True}
    mine = tmp_path / "out/VOCdevkit/VOC2012/JPEGImages/2008_2.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(CannotCreateError, match=r"2008_2\.jpg"):
        fetch(["voc12"], tmp_path / "out", **options)
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    assert len(fetch(["voc12"], tmp_path / "out", **options)) == 1
    assert mine.is_file() and len(voc.read(mine.parents[1], "trainval")) == 3


def test_a17_a_hostile_archive_with_the_right_hash_leaves_nothing(server, tmp_path: Path) -> None:
    path = server[1] / "evil.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("../../evil")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    evil = {"voc12": (Archive("evil.tar", "", hashlib.md5(path.read_bytes()).hexdigest(), 100),)}
    with pytest.raises(DataError, match=r"\.\./\.\./evil"):
        fetch(["voc12"], tmp_path / "deep/out", mirror=server[0], archives=evil, wait_s=0.0)
    assert not list(tmp_path.rglob("evil")) and not list((tmp_path / "deep/out").glob(".*"))


def test_the_table_is_the_publishers_and_a_wrong_name_is_a_wrong_call(tmp_path: Path) -> None:
    assert [a.md5[:8] for each in ARCHIVES.values() for a in each] == ["c52e2795", "b6e924de", "6cd6e144"]
    assert fetching.PUBLISHER.startswith("http")
    for names in (["voc2007"], []):
        with pytest.raises(UsageError):
            fetch(names, tmp_path / "out")
