from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import singleshot
from singleshot.errors import DataError, UnreachableError, UsageError
from singleshot.prediction import network_camera
from singleshot.prediction.frames import Frame
from singleshot.prediction.network_camera import Address, frames
from tests.prediction.cameras import HttpCamera, RtspCamera, picture

SOAK_MINUTES = 10
GROWTH_MB = 20


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_camera, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(network_camera, "LONGEST_PAUSE_S", 0.5)


def level(frame: Frame) -> int:
    """The number of a picture of `HttpCamera`."""
    return int(frame.image.mean().round())


def refusal(camera: HttpCamera, timeout_s: float = 5.0) -> Any:
    """The error of the first connection."""
    with pytest.raises(singleshot.SingleshotError) as caught:
        next(frames(Address(camera.url), timeout_s=timeout_s))
    assert "\n" not in str(caught.value)
    return caught.value


def test_user_name_and_password_are_in_no_text_of_an_address() -> None:
    address = Address("rtsp://me:s3cr@t/x@10.0.0.7:554/live/1?channel=2")
    for text in (str(address), repr(address), address.file_stem):
        assert "s3cr" not in text and "me:" not in text
    assert Address("http://h/a").url == "http://h/a" and Address("http://h/a") != Address("http://h/b")


@pytest.mark.parametrize(
    "url", ["rtsp://", "http:///a", "ftp://h/a", "rtsp://h/a b", "rtsp://h/\x1b[2J", "rtsp://h:0/"]
)
def test_what_is_no_address_of_a_stream_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not the address of a stream"):
        Address(url)


def test_only_the_newest_frame_is_seen_by_one_who_comes_seldom() -> None:
    with HttpCamera() as camera:
        seen = frames(Address(camera.url))
        first = next(seen)
        time.sleep(1.0)
        second, now = next(seen), camera.number
        assert first.image.shape == (48, 64, 3) and first.source == camera.url
        # 25 came meanwhile, and all but the last are gone. Those on their way when it was asked for do not count.
        assert level(second) - level(first) >= 20 and now - level(second) <= 5
        assert (first.index, second.index, first.time_s) == (0, 1, 0.0) and 0.5 < (second.time_s or 0) < 3
        seen.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_lost_stream_is_reported_once_and_comes_back_by_itself() -> None:
    camera, events = HttpCamera(), []
    seen = frames(Address(camera.url), on_event=events.append)
    next(seen)
    port = camera.port
    threading.Timer(0.2, camera.stop).start()
    threading.Timer(1.5, lambda: cameras.append(HttpCamera(port=port))).start()
    cameras: list[HttpCamera] = []
    before = time.monotonic()
    while not cameras or time.monotonic() - before < 2.5:
        next(seen)
        assert time.monotonic() - before < 60
    seen.close()  # pyright: ignore[reportAttributeAccessIssue]
    cameras[0].stop()
    assert len(events) == 2, events
    assert events[0].startswith(f"{camera.url}: lost (") and events[0].endswith("connecting again until it is back")
    assert events[1].startswith(f"{camera.url}: back after ")


def test_pauses_between_attempts_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[float] = []
    events: list[str] = []
    camera = HttpCamera()
    seen = frames(Address(camera.url), on_event=events.append)
    next(seen)
    opened = network_camera._Receiver._open

    def counted(self: Any) -> Any:
        attempts.append(time.monotonic())
        return opened(self)

    monkeypatch.setattr(network_camera._Receiver, "_open", counted)
    camera.stop()

    def until_it_is_back() -> None:
        while len(events) < 2:  # a picture that came before the stop may still be waiting
            next(seen)

    taker = threading.Thread(target=until_it_is_back, daemon=True)
    taker.start()
    start = time.monotonic()
    while len(attempts) < 5 and time.monotonic() - start < 60:
        time.sleep(0.05)
    # 0.1, 0.2, 0.4, then 0.5 for ever, each give or take a quarter. Four that did not grow take 0.5 s at most.
    assert len(attempts) >= 5 and attempts[4] - attempts[0] > 0.75 * (0.1 + 0.2 + 0.4 + 0.5)
    again = HttpCamera(port=camera.port)
    taker.join(30)
    again.stop()
    assert not taker.is_alive() and " lost (" in events[0] and "back after" in events[1]


def test_a_stream_that_falls_silent_is_lost_after_the_time_out() -> None:
    def few(handler: Any) -> None:
        camera.head(handler)
        for number in range(30):
            camera.send(handler, picture(number))
        time.sleep(30)

    events: list[str] = []
    with HttpCamera(few) as camera:
        seen = frames(Address(camera.url), on_event=events.append, timeout_s=0.5)
        start = time.monotonic()
        while len(events) < 2:
            next(seen)
        seen.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert "lost (nothing came for 0.5 s)" in events[0] and time.monotonic() - start < 20


def test_one_that_never_answers_is_unreachable_at_once() -> None:
    with HttpCamera(lambda _handler: time.sleep(30)) as camera:
        start = time.monotonic()
        error = refusal(camera, timeout_s=0.5)
    assert isinstance(error, UnreachableError) and error.exit_code == 69 and time.monotonic() - start < 10
    camera.stop = lambda: None
    error = refusal(camera)
    assert isinstance(error, UnreachableError) and "refused" in str(error) and "camera is on" in str(error)


def test_a_wrong_password_is_named_and_never_shown() -> None:
    with HttpCamera(password="s3cret") as camera:
        url = camera.url.replace("http://", "http://me:s3cret@")
        seen = frames(Address(url))
        assert next(seen).source == camera.url
        seen.close()  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(UnreachableError, match="USER:PASSWORD") as caught:
            next(frames(Address(url.replace("s3cret", "wr0ng"))))
    assert "wr0ng" not in str(caught.value) and "401" in str(caught.value)


def test_no_redirect_is_followed() -> None:
    def elsewhere(handler: Any) -> None:
        handler.send_response(302)
        handler.send_header("Location", "/inside")
        handler.end_headers()

    with HttpCamera(elsewhere) as camera:
        refusal(camera)
        assert set(camera.requests) == {"/live"}


@pytest.mark.parametrize(
    "elsewhere", ["http://127.0.0.1:{0}/inside", "rtsp://127.0.0.1:{0}/inside", "file:///etc/passwd"]
)
def test_no_rtsp_redirect_is_followed_to_another_server_or_a_file(elsewhere: str) -> None:
    asked: list[bytes] = []

    def redirect(listener: socket.socket, target: str) -> None:
        client, _ = listener.accept()
        with client:
            while request := client.recv(4096):
                asked.append(request.split(b" ")[0])
                (number,) = [line for line in request.split(b"\r\n") if line.startswith(b"CSeq")]
                if asked[-1] == b"OPTIONS":
                    client.sendall(b"RTSP/1.0 200 OK\r\n" + number + b"\r\nPublic: DESCRIBE, SETUP, PLAY\r\n\r\n")
                else:
                    head = b"RTSP/1.0 302 Moved Temporarily\r\n" + number
                    client.sendall(head + f"\r\nLocation: {target}\r\n\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as inside, socket.create_server(("127.0.0.1", 0)) as listener:
        target = elsewhere.format(inside.getsockname()[1])
        threading.Thread(target=redirect, args=(listener, target), daemon=True).start()
        with pytest.raises(singleshot.SingleshotError):
            next(frames(Address(f"rtsp://127.0.0.1:{listener.getsockname()[1]}/live"), timeout_s=3.0))
        inside.settimeout(0.2)
        with pytest.raises(TimeoutError):
            inside.accept()
    assert b"DESCRIBE" in asked


@pytest.mark.parametrize(
    "text",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        b"<html>not a camera</html>" * 1000,
        b"",
        bytes(range(256)) * 4000,
    ],
    ids=["playlist", "concat", "sdp", "html", "nothing", "noise"],
)
def test_what_is_no_video_is_refused_and_nothing_it_names_is_opened(text: bytes, tmp_path: Path) -> None:
    def answer(handler: Any) -> None:
        camera.head(handler, "application/vnd.apple.mpegurl" if text.startswith(b"#EXTM3U") else "text/plain")
        handler.wfile.write(text)

    with HttpCamera(answer) as camera:
        error = refusal(camera)
    assert isinstance(error, DataError | UnreachableError) and error.exit_code in (65, 69)


def test_an_image_of_too_many_pixels_takes_no_memory_and_is_refused() -> None:
    huge = picture(9, (8000, 8000))

    def answer(handler: Any) -> None:
        camera.head(handler)
        while True:
            camera.send(handler, huge)
            time.sleep(0.02)

    with HttpCamera(answer) as camera:
        before = psutil.Process().memory_info().rss
        error = refusal(camera, timeout_s=2.0)
    assert error.exit_code in (65, 69) and psutil.Process().memory_info().rss - before < 100e6


def test_endless_data_without_an_image_ends_with_the_time_out() -> None:
    def answer(handler: Any) -> None:
        camera.head(handler)
        while not camera.stopped:
            camera.send(handler, b"no picture" * 100)
            time.sleep(0.01)

    with HttpCamera(answer) as camera:
        start = time.monotonic()
        error = refusal(camera, timeout_s=1.0)
    assert error.exit_code in (65, 69) and time.monotonic() - start < 15


def test_frames_of_another_size_are_scaled_to_the_first_ones() -> None:
    events: list[str] = []
    with HttpCamera(size_hw=lambda number: (48, 64) if number < 15 else (96, 80)) as camera:
        seen = frames(Address(camera.url), on_event=events.append)
        shapes = {next(seen).image.shape for _ in range(40)}
        seen.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert shapes == {(48, 64, 3)} and events == [f"{camera.url}: the frames are now 80×96; they are scaled to 64×48"]


def test_a_detector_streams_from_an_address_only_where_the_network_is_allowed(detector: singleshot.Detector) -> None:
    with HttpCamera() as camera:
        with pytest.raises(UsageError, match="allow_network=True"):
            next(detector.stream(camera.url))
        assert camera.requests == []
        seen = detector.stream(camera.url, allow_network=True, track=True)
        some = list(itertools.islice(seen, 3))
        seen.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert [each.frame.index for each in some] == [0, 1, 2] and some[0].result.size_hw == (48, 64)


def test_a_real_rtsp_server_that_is_killed_and_started_again_is_received_again() -> None:
    events: list[str] = []
    camera = RtspCamera()
    seen = frames(Address(camera.url), on_event=events.append, timeout_s=5.0)
    try:
        some = [next(seen) for _ in range(20)]
        assert {frame.image.shape for frame in some} == {(240, 320, 3)}
        assert max(int(frame.image.max()) for frame in some) > 200, "the ball is white"
        camera.stop()
        threading.Timer(2.0, lambda: cameras.append(RtspCamera(camera.port))).start()
        cameras: list[RtspCamera] = []
        start = time.monotonic()
        while len(events) < 2 and time.monotonic() - start < 90:
            last = next(seen)
        after = [next(seen) for _ in range(10)]
    finally:
        seen.close()  # pyright: ignore[reportAttributeAccessIssue]
        for each in (camera, *cameras):
            each.stop()
    assert "lost (" in events[0] and "back after" in events[1] and len(events) == 2
    assert (after[0].index or 0) > (last.index or 0) and (after[0].time_s or 0) - (some[-1].time_s or 0) > 1.5


def test_an_unknown_path_of_a_real_rtsp_server_is_unreachable() -> None:
    with RtspCamera() as camera, pytest.raises(UnreachableError, match=r"404.*Check the path"):
        next(frames(Address(camera.url.replace("/live", "/gone"))))


@pytest.mark.skipif(not os.environ.get("SINGLESHOT_LONG"), reason="ten minutes: make test-long runs it")
@pytest.mark.timeout(60 * (SOAK_MINUTES + 5))
def test_ten_minutes_of_a_stream_that_restarts_every_minute_take_no_more_memory(detector: singleshot.Detector) -> None:
    events: list[str] = []
    process, memory = psutil.Process(), []
    camera, restarts, count = RtspCamera(), 0, 0
    port = camera.port
    start = time.monotonic()

    def seen() -> Iterator[Any]:
        for frame in frames(Address(camera.url), on_event=events.append, timeout_s=5.0):
            yield detector.predict(frame.image)

    try:
        for _ in seen():
            count += 1
            passed = time.monotonic() - start
            if not memory or passed > len(memory):
                memory.append(process.memory_full_info().uss / 1e6)
            if passed > 60 * (restarts + 1):
                restarts += 1
                camera.stop()
                camera = RtspCamera(port)
            if passed > 60 * SOAK_MINUTES:
                break
    finally:
        camera.stop()
    fifth = len(memory) // 5
    first, last = sorted(memory[30 : 30 + fifth])[fifth // 2], sorted(memory[-fifth:])[fifth // 2]
    print(f"{count} frames, {restarts} restarts, {len(events)} lines, memory {first:.0f} to {last:.0f} MB")
    assert last - first <= GROWTH_MB and restarts >= SOAK_MINUTES - 2
    assert sum("back after" in event for event in events) >= restarts - 1
    assert threading.active_count() < 10


@pytest.fixture
def detector(tmp_path: Path) -> singleshot.Detector:
    from tests.exporting import made

    return made.detector()
