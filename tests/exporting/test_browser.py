"""The exported page in a real Chromium, served with a strict policy and without any other host."""

from __future__ import annotations

import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import singleshot
from singleshot.errors import CannotCreateError, DataError, InputMissingError, UsageError
from singleshot.exporting import browser
from tests.exporting import made

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; style-src 'self';"
    " img-src 'self' data:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FLAGS = [
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
needs_runtime = pytest.mark.skipif(
    "SINGLESHOT_ORT_WEB" not in os.environ,
    reason="needs SINGLESHOT_ORT_WEB, the folder of the unpacked npm package onnxruntime-web",
)


def stand_in(folder: Path, name: str = "onnxruntime-web", without: str = "") -> Path:
    """A package with the files of the runtime, which nothing can run."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(f'{{"name": "{name}", "version": "1.30.0"}}')
    for each in browser.RUNTIME:
        if each != without:
            (folder / "dist" / each).write_bytes(b"x")
    return folder


def test_a_package_with_all_files_has_a_version(tmp_path: Path):
    assert browser.runtime_version(stand_in(tmp_path / "package")) == "1.30.0"


def test_a_folder_that_is_not_the_runtime_is_refused_with_what_to_do(tmp_path: Path):
    with pytest.raises(InputMissingError, match="npm pack onnxruntime-web"):
        browser.runtime_version(tmp_path / "none")
    with pytest.raises(DataError, match="the package 'left-pad'"):
        browser.runtime_version(stand_in(tmp_path / "other", name="left-pad"))
    with pytest.raises(InputMissingError, match=r"has no dist/ort\.webgpu\.min\.mjs"):
        browser.runtime_version(stand_in(tmp_path / "old", without="ort.webgpu.min.mjs"))
    broken = stand_in(tmp_path / "broken")
    (broken / "package.json").write_text("{")
    with pytest.raises(DataError, match="not an npm package"):
        browser.runtime_version(broken)


def test_the_page_and_the_runtime_need_each_other(tmp_path: Path):
    weights = made.write_weights(tmp_path)
    with pytest.raises(UsageError, match="--runtime package"):
        singleshot.export(weights, format="browser")
    with pytest.raises(UsageError, match="need each other"):
        singleshot.export(weights, format="onnx", runtime=tmp_path)


def test_the_folder_holds_page_model_runtime_and_its_licence(tmp_path: Path):
    weights = made.write_weights(tmp_path)
    runtime = stand_in(tmp_path / "package")
    done = singleshot.export(weights, format="browser", runtime=runtime, check=False)
    assert done.path == tmp_path / "d-browser"
    found = {each.relative_to(done.path).as_posix() for each in done.path.rglob("*") if each.is_file()}
    assert found == {
        *browser.PAGE,
        "model.onnx",
        "model.json",
        "runtime/LICENSE.txt",
        *(f"runtime/{name}" for name in browser.RUNTIME),
    }
    page = "".join((done.path / name).read_text() for name in browser.PAGE)
    assert "http://" not in page and "https://" not in page, "nothing is fetched from elsewhere"
    with pytest.raises(CannotCreateError, match="--overwrite"):
        singleshot.export(weights, format="browser", runtime=runtime, check=False)
    (done.path / "old").touch()
    singleshot.export(weights, format="browser", runtime=runtime, check=False, overwrite=True)
    assert not (done.path / "old").exists() and not done.path.with_name("d-browser.before").exists()


def test_a_folder_of_the_users_is_never_replaced(tmp_path: Path):
    weights = made.write_weights(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(CannotCreateError, match="Choose another name"):
        singleshot.export(
            weights, format="browser", runtime=stand_in(tmp_path / "p"), out=tmp_path / "photos", overwrite=True
        )
    assert (tmp_path / "photos" / "cat.jpg").exists()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder as any static server does, with the policy on every answer, workers' included."""

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Opened:
    """The page of a folder in a browser that reaches no other host, and what it complained about."""

    def __init__(self, running: Any, folder: Path) -> None:
        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *rest: Handler(*rest, directory=str(folder))
        )
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        self.page = running.new_page(viewport={"width": 1280, "height": 800})
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("request", self._asked)
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(self.address)
        self.wait("Ready")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.address, "blob:", "data:")):
            self.elsewhere.append(request.url)

    def wait(self, text: str) -> str:
        """The status line, once it has that text or says that something failed."""
        ended = "parts => parts.some(each => document.querySelector('#status').innerText.includes(each))"
        self.page.wait_for_function(ended, arg=[text, "could not be opened", "Error"], timeout=120_000)
        said = self.page.text_content("#status")
        assert text in said, (said, self.complaints)
        return said

    def show(self, path: Path) -> str:
        self.page.set_input_files("#file", str(path))
        return self.wait(" ms on ")

    def rows(self) -> list[list[str]]:
        return [row.split("\t") for row in self.page.locator("#rows tr").all_inner_texts()]

    def close(self) -> None:
        self.page.close()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: make test installs it")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip("needs a Chromium browser: make browser")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield launched
        launched.close()


def exported(folder: Path, model: Any, **options: Any) -> Path:
    made.weights.save(folder / "d.safetensors", model.network, {})
    return singleshot.export(
        folder / "d.safetensors",
        format="browser",
        runtime=os.environ["SINGLESHOT_ORT_WEB"],
        out=folder / "site",
        check=False,
        **options,
    ).path


@pytest.fixture(scope="module")
def opened(running: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    page = Opened(running, exported(tmp_path_factory.mktemp("browser"), made.detector("letterbox")))
    yield page
    page.close()


def picture(folder: Path, index: int) -> tuple[Path, np.ndarray]:
    image = made.pictures(4)[index]
    cv2.imwrite(str(folder / "street.png"), image[..., ::-1])
    return folder / "street.png", image


@needs_runtime
@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1, 3])
def test_boxes_are_those_of_predict(opened: Opened, tmp_path: Path, index: int):
    path, image = picture(tmp_path, index)
    said = opened.show(path)
    wanted = made.detector("letterbox").predict(image, threshold=0.5)
    rows = opened.rows()
    assert "street.png: " in said and " ms on wasm" in said
    assert len(rows) == len(wanted) > 3
    # Two that score the same to the fourth digit may change places.
    numbers = np.array([row[1:] for row in rows], dtype=np.float64)
    alike = np.array([row[0] for row in rows])[:, None] == wanted.class_names
    alike &= np.abs(numbers[:, :1] - wanted.scores) <= 0.01
    alike &= np.abs(numbers[:, None, 1:] - wanted.boxes_xyxy).max(axis=2) <= 0.5
    assert alike.any(axis=0).mean() >= 0.97 and alike.any(axis=1).mean() >= 0.97
    assert opened.complaints == [] and opened.elsewhere == []


@needs_runtime
@pytest.mark.slow
def test_the_threshold_shows_more_and_fewer(opened: Opened, tmp_path: Path):
    opened.show(picture(tmp_path, 1)[0])
    counts = []
    for value in ("0.5", "0.99", "1"):
        opened.page.locator("#threshold").evaluate(
            "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value
        )
        counts.append(len(opened.rows()))
    assert counts[0] > counts[1] >= counts[2] == 0


@needs_runtime
@pytest.mark.slow
def test_the_webcam_and_a_video_go_frame_by_frame_until_they_are_stopped(opened: Opened, tmp_path: Path):
    opened.page.click("#camera")
    opened.wait("Webcam, frame 3: ")
    opened.page.click("#stop")
    assert opened.page.locator("#stop").is_disabled()
    path = tmp_path / "street.webm"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), 10, (160, 120))
    if not writer.isOpened():
        pytest.skip("OpenCV has no encoder for WebM here")
    for shade in range(40):
        writer.write(np.full((120, 160, 3), 3 * shade, np.uint8))
    writer.release()
    opened.page.set_input_files("#file", str(path))
    opened.wait("street.webm, frame 2: ")
    assert opened.complaints == [] and opened.elsewhere == []


@needs_runtime
@pytest.mark.slow
def test_a_file_that_is_no_image_is_reported_to_be_none(opened: Opened, tmp_path: Path):
    (tmp_path / "notes.png").write_text("no image")
    opened.page.set_input_files("#file", str(tmp_path / "notes.png"))
    opened.page.wait_for_selector("#status.bad")
    assert "notes.png: " in opened.page.text_content("#status")
    opened.complaints.clear()


@needs_runtime
@pytest.mark.slow
def test_a_segmenter_paints_its_classes(running: Any, tmp_path: Path):
    page = Opened(running, exported(tmp_path, made.segmenter()))
    try:
        path, image = picture(tmp_path, 1)
        page.show(path)
        data = page.page.locator("#canvas").evaluate(
            "canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)"
        )
        painted = np.array(data, dtype=np.int64).reshape(*image.shape[:2], 4)[..., :3]
        ids = made.segmenter().predict(image).class_ids
        wanted = (image.astype(np.int64) + made.segmenter().colours[ids]) // 2
        assert (np.abs(painted - wanted).max(axis=2) <= 1).mean() > 0.99
        assert page.complaints == [] and page.elsewhere == []
    finally:
        page.close()
