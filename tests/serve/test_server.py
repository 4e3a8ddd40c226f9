from __future__ import annotations

import asyncio
import base64
import json
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
import uvicorn

from singleshot import weights
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import CannotCreateError, StorageError
from singleshot.serve import server
from singleshot.serve.settings import Settings
from tests.serve.conftest import Program, body, get, heard, jpeg, post, status, until


def test_h23_replacing_the_model_file_does_not_affect_the_server(program: Program) -> None:
    model: Path = program.model  # pyright: ignore[reportAttributeAccessIssue]
    before = body(program.ask(get("/v1/model")))
    seen = body(program.ask(post(jpeg(), path="/v1/predict?threshold=0.05")))
    kept = model.read_bytes()
    model.write_bytes(b"another model")
    try:
        network = [each for each in psutil.Process(program.process.pid).children(recursive=True) if each.nice() > 0]
        network[0].kill()  # the next one opens the file anew
        deadline = time.monotonic() + 60
        while status(said := program.ask(post(jpeg(), path="/v1/predict?threshold=0.05"))) != 200:
            assert time.monotonic() < deadline and status(said) == 503
            time.sleep(0.05)
        assert body(said) == seen and body(program.ask(get("/v1/model"))) == before
    finally:
        model.write_bytes(kept)


@pytest.mark.slow
def test_h20_sigterm_under_load_drains_and_exits_with_143(weights_file: Path) -> None:
    served = Program(str(weights_file), "--port", "0", "--batch-size", "2")
    statuses: list[int] = []
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
                    connection.sendall(post(jpeg((100, 100))))
                    statuses.append(status(heard(connection)))
            except ConnectionError:
                return  # nobody listens any more: refused, not accepted and dropped

    threads = [threading.Thread(target=client) for _ in range(16)]
    for each in threads:
        each.start()
    time.sleep(1.0)
    children = psutil.Process(served.process.pid).children(recursive=True)
    for each in children:  # as systemd does it: everybody gets the signal
        each.terminate()
    code = served.end()
    stop.set()
    for each in threads:
        each.join()
    assert code == 143
    assert len(statuses) > 16 and set(statuses) <= {200, 503}, "each that was let in was answered"
    until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in children), 10)


def test_h22_an_address_in_use_is_reported_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotCreateError, match=f"port {port}"):
            server.serve(Path("never-read"), Settings(port=port), lambda _address, _facts: None)


def test_h22_another_program_listening_meanwhile_is_reported_too() -> None:
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):  # both may be bound to it; the first to listen has it
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", first.getsockname()[1] if each is second else 0))
        first.listen()
        running = server.Server(uvicorn.Config(lambda *_: None, lifespan="off", log_config=None, ws="none"))  # pyright: ignore[reportArgumentType]
        running.config.load()
        running.lifespan = running.config.lifespan_class(running.config)
        with pytest.raises(CannotCreateError, match=f"port {second.getsockname()[1]} of 127") as caught:
            asyncio.run(running.startup([second]))
    assert caught.value.exit_code == 73


def test_h22_a_failed_copy_of_the_model_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "m.onnx").write_bytes(b"m")
    with monkeypatch.context() as patch:
        patch.setattr(server.shutil, "copyfile", full)
        with pytest.raises(StorageError, match=r"singleshot-.*the disk is full") as caught:
            server.serve(tmp_path / "m.onnx", Settings(port=0), lambda _address, _facts: None)
    assert caught.value.exit_code == 74
    monkeypatch.setattr(server.tempfile, "TemporaryDirectory", full)
    with pytest.raises(StorageError, match="no temporary folder"):
        server.serve(tmp_path / "m.onnx", Settings(port=0), lambda _address, _facts: None)


@pytest.mark.parametrize("suffix", [".xml", ".XML"])
def test_both_files_of_an_openvino_model_are_copied(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / f"m{suffix}").write_bytes(b"text")
    copy = server._copy_model(tmp_path / f"m{suffix}", tmp_path / "own")
    assert (copy.name, copy.read_bytes(), len(list(copy.parent.iterdir()))) == (f"model{suffix}", b"text", 1)
    (tmp_path / "m.bin").write_bytes(b"numbers")
    assert server._copy_model(tmp_path / f"m{suffix}", tmp_path / "own") == copy
    assert copy.with_suffix(".bin").read_bytes() == b"numbers"


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotCreateError, match=r"203\.0\.113\.1"):
        server.serve(tmp_path, Settings(host="203.0.113.1", token="never mind"), lambda _address, _facts: None)


def test_two_models_run_in_one_server_each_in_its_own_process(weights_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    torch.manual_seed(1)
    weights.save(other, SSD(config_for("lite320-fine", ["lamp"], (64, 96))), {})
    served = Program(f"first={weights_file}", f"second={other}", "--port", "0")
    try:
        models = body(served.ask(get("/v1/models")))["models"]
        assert [each["name"] for each in models] == ["first", "second"]
        assert [len(each["classes"]) for each in models] == [2, 1] and models[0]["sha256"] != models[1]["sha256"]
        for name, classes in (("first", {"car", "<img src=x onerror=alert(1)>"}), ("second", {"lamp"})):
            said = served.ask(post(jpeg(), "Content-Type: image/jpeg", path=f"/v1/predict?model={name}&threshold=0.01"))
            assert status(said) == 200 and {each["class"] for each in body(said)["detections"]} <= classes
        direct = served.ask(post(jpeg(), "Content-Type: image/jpeg", path="/v1/predict?threshold=0.01"))
        named = served.ask(post(jpeg(), "Content-Type: image/jpeg", path="/v1/predict?threshold=0.01&model=first"))
        in_json = json.dumps({"image": base64.b64encode(jpeg()).decode(), "threshold": 0.01}).encode()
        from_json = served.ask(post(in_json, "Content-Type: application/json"))
        assert body(direct) == body(named) == body(from_json) and body(direct)["detections"]
    finally:
        assert served.end() == 143
