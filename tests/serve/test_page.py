"""The page in a real browser: with Playwright and Chromium (`make browser`)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from singleshot.serve.security import PAGE
from tests.serve.conftest import Program, Stub, body, get, jpeg, stub_server
from tests.serve.test_app import two_models

HOSTILE = "<img src=x onerror=alert(1)>"
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
browser_test = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: make test installs it")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip("needs a Chromium browser: make browser")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield running
        running.close()


class Opened:
    """A page, what it request the server, and what it complained about."""

    def __init__(self, browser: Any, port: int, width: int = 1280, height: int = 860) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.predictions = 0
        self.complaints: list[str] = []
        self.page.on("request", self._asked)
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append("a dialog"), dialog.dismiss()))
        self.page.goto(f"http://127.0.0.1:{port}/")

    def _asked(self, request: Any) -> None:
        self.predictions += "/v1/predict" in request.url

    def show(self, data: bytes, name: str = "street.jpg", kind: str = "image/jpeg") -> None:
        self.page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": data})
        self.page.wait_for_selector("#panel:not([hidden])", timeout=60_000)

    def rows(self) -> int:
        return self.page.locator("#rows tr").count()

    def slide(self, name: str, value: float) -> None:
        self.page.locator(name).evaluate(
            "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", str(value)
        )


@pytest.fixture
def opened(browser: Any, program: Program) -> Iterator[Opened]:
    page = Opened(browser, program.port)
    yield page
    page.page.close()


@browser_test
def test_the_threshold_slider_redraws_without_another_request(opened: Opened) -> None:
    opened.show(jpeg((90, 120), 3))
    counts = []
    for threshold in (0.01, 0.3, 0.5, 1.0):
        opened.slide("#threshold", threshold)
        counts.append(int((opened.page.text_content("#count") or "").split()[0]))
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[2] >= counts[3] == 0
    assert opened.predictions == 1 and opened.complaints == []


@browser_test
def test_h17_file_and_class_names_are_shown_as_text(opened: Opened) -> None:
    opened.show(jpeg((90, 120), 3), name="<script>alert(2)<!--.jpg")
    opened.slide("#threshold", 0.01)
    assert HOSTILE in opened.page.locator("#classes").inner_text()
    assert "<script>alert(2)<!--.jpg" in opened.page.locator("#status").inner_text()
    assert opened.page.locator("img").count() == 0 and opened.page.locator("script").count() == 1
    assert opened.complaints == []


@browser_test
def test_a_deselected_class_disappears_from_image_and_table(opened: Opened) -> None:
    opened.show(jpeg((90, 120), 3))
    opened.slide("#threshold", 0.01)
    pixels = "canvas => canvas.toDataURL()"
    everything, count = opened.page.locator("#canvas").evaluate(pixels), opened.rows()
    opened.page.locator("#classes input").first.uncheck()
    assert 0 < opened.rows() <= count and "car" not in opened.page.locator("#rows").inner_text()
    assert opened.page.locator("#canvas").evaluate(pixels) != everything
    opened.page.click("#none")
    assert opened.rows() == 0
    opened.page.click("#all")
    assert opened.rows() == count and opened.predictions == 1


@browser_test
def test_downloads_match_what_the_page_shows(opened: Opened, tmp_path: Path) -> None:
    opened.show(jpeg((90, 120), 3))
    opened.slide("#threshold", 0.2)
    with opened.page.expect_download() as json_file:
        opened.page.click("#save-json")
    with opened.page.expect_download() as picture_file:
        opened.page.click("#save-picture")
    assert json_file.value.suggested_filename == "street.json"
    found = json.loads(Path(json_file.value.path()).read_text())
    (picture,) = found["pictures"]
    assert found["source"] == "street.jpg" and picture["size_hw"] == [90, 120]
    assert len(picture["detections"]) == int((opened.page.text_content("#count") or "").split()[0])
    assert all(each["score"] >= 0.2 for each in picture["detections"])
    picture_file.value.save_as(tmp_path / "seen.png")
    drawn = cv2.imread(str(tmp_path / "seen.png"))
    assert drawn is not None and drawn.shape[0] % 90 == 0 and drawn.shape[1] % 120 == 0


@browser_test
def test_every_control_is_reachable_by_keyboard(opened: Opened) -> None:
    opened.show(jpeg((90, 120), 3))
    opened.slide("#threshold", 0.3)
    reached = []
    opened.page.locator("body").focus()
    for _ in range(14):
        opened.page.keyboard.press("Tab")
        reached.append(opened.page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    for wanted in ("file", "camera", "threshold", "all", "none", "INPUT", "save-json", "save-picture", "TR"):
        assert wanted in reached, reached
    opened.page.locator("#threshold").focus()
    opened.page.keyboard.press("ArrowRight")
    assert opened.page.text_content("#threshold-value") == "0.31"


@browser_test
def test_a_file_that_is_given_before_the_models_are_known_waits_for_them(opened: Opened) -> None:
    held: list[Any] = []
    opened.page.route("**/v1/models", lambda route: held.append(route))
    opened.page.reload()
    opened.page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": jpeg((90, 120), 3)})
    opened.page.wait_for_timeout(200)
    assert opened.page.locator("#panel").is_hidden() and opened.predictions == 0
    held[0].continue_()
    opened.page.wait_for_selector("#panel:not([hidden])", timeout=60_000)
    assert opened.predictions == 1 and opened.complaints == []


@browser_test
def test_a_phone_needs_no_horizontal_scrolling(browser: Any, program: Program) -> None:
    opened = Opened(browser, program.port, 360, 740)
    opened.show(jpeg((90, 120), 3))
    opened.slide("#threshold", 0.01)
    assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sizes = (
        "all => all.filter(each => each.offsetParent && each.getBoundingClientRect().height < 32).map(each => each.id)"
    )
    assert opened.page.locator("button").evaluate_all(sizes) == [], "a finger needs 32 pixels"
    opened.page.close()


@browser_test
def test_a_file_that_is_not_an_image_gets_an_explanation(opened: Opened) -> None:
    opened.page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"<html>"})
    opened.page.wait_for_selector("#status.bad")
    assert "not an image (looks like HTML)" in (opened.page.text_content("#status") or "")


@browser_test
def test_a_video_becomes_frames_with_a_slider(opened: Opened, tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="needs PyAV to make a video")
    with av.open(str(tmp_path / "a.webm"), "w") as container:
        stream = container.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * i, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    opened.show((tmp_path / "a.webm").read_bytes(), "a.webm", "video/webm")
    opened.page.wait_for_selector("#stop[hidden]", state="attached", timeout=60_000)
    last = int(opened.page.get_attribute("#frame", "max") or 0)
    assert last >= 2 and opened.predictions == last + 1
    opened.slide("#frame", 1)
    opened.page.locator("#frame-value", has_text="at 0.").wait_for()
    assert opened.predictions == last + 1 and opened.complaints == []


@browser_test
def test_the_webcam_runs_until_stopped(opened: Opened) -> None:
    opened.page.click("#camera")
    opened.page.wait_for_selector("#panel:not([hidden])", timeout=60_000)
    opened.page.locator("#status", has_text="webcam: ").wait_for()
    opened.page.click("#camera")
    opened.page.wait_for_timeout(500)
    request = opened.predictions
    opened.page.wait_for_timeout(500)
    assert opened.predictions == request > 0 and opened.complaints == []


@browser_test
def test_the_page_asks_for_a_token_if_the_server_requires_one(browser: Any) -> None:
    with stub_server(token="open sesame", window_s=5.0) as stub:
        opened = Opened(browser, stub.port)
        opened.page.wait_for_selector("#token-form:not([hidden])")
        opened.page.fill("#token", "open sesame")
        opened.page.click("#token-form button")
        opened.page.wait_for_selector("#token-form[hidden]", state="attached")
        assert "stub.safetensors" in (opened.page.text_content("#model") or "")
        opened.page.close()


def test_the_page_loads_nothing_from_other_servers(stub: Stub) -> None:
    for path, (_, media_type) in PAGE.items():
        said = stub.ask(get(path))
        assert f"content-type: {media_type}".encode() in said
        text = said.partition(b"\r\n\r\n")[2].decode()
        assert "http://" not in text and "https://" not in text and "innerHTML" not in text
    assert body(stub.ask(get("/v1/model")))["task"] == "detection"


@browser_test
def test_a_visitor_chooses_between_several_models(browser: Any) -> None:
    with two_models() as (stub, _seen):
        opened = Opened(browser, stub.port)
        opened.page.wait_for_selector("#models:not([hidden])")
        assert opened.page.locator("#models option").all_text_contents() == ["a", "b"]
        assert opened.page.locator("#model").text_content().startswith("a ·")
        opened.page.select_option("#models", "b")
        assert opened.page.locator("#model").text_content().startswith("b ·")
        assert opened.page.locator("#panel").is_hidden() and opened.complaints == []
    with stub_server() as alone:
        opened = Opened(browser, alone.port)
        opened.page.wait_for_selector("#model:text('stub')")  # no function: the page's policy allows no eval
        assert opened.page.locator("#models").is_hidden()
