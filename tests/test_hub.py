from __future__ import annotations

import http.server
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants, errors

from singleshot import hub, weights
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import (
    DataError,
    InputMissingError,
    NotPermittedError,
    SingleshotError,
    StorageError,
    UnreachableError,
    UsageError,
)
from singleshot.segmentation.fcn import FCN
from singleshot.segmentation.fcn import config_for as fcn_config

NAMES = ("car", "Fußgänger")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("hub") / "w.safetensors"
    weights.save(path, SSD(config_for("lite320-fine", NAMES, (96, 128))), {"command": "train"})
    return path


class Handler(http.server.BaseHTTPRequestHandler):
    """The two answers of the hub that its client needs to fetch a file: what it is, and the file."""

    files: dict[str, bytes]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        data = self.files.get(self.path)
        self.send_response(200 if data is not None else 404)
        if data is None:
            known = any(self.path.rpartition("/")[0] == name.rpartition("/")[0] for name in self.files)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hash(data)}"')
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        if body and data:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def publish(good: Path, config: str | None = None, name: str = "somebody/cells") -> None:
    text = hub.config_json(weights.load(good).network.config) if config is None else config
    where = f"/{name}/resolve/main/"
    Handler.files = {where + hub.CONFIG: text.encode(), where + hub.WEIGHTS: good.read_bytes()}


def test_a_repository_is_its_two_files_and_is_fetched_once(good: Path, endpoint: str):
    publish(good)
    path = hub.fetch("somebody/cells", endpoint=endpoint)
    file = weights.load(path)
    assert file.sha256 == weights.load(good).sha256
    assert file.network.config.class_names == NAMES
    assert hub.fetch("somebody/cells@main", endpoint=endpoint) == path


def test_class_names_survive_json_in_their_order(good: Path):
    config = weights.load(good).network.config
    stored = json.loads(hub.config_json(config))
    assert stored["singleshot"]["class_names"] == list(NAMES)
    assert weights.config_of(stored["singleshot"]) == config


@pytest.mark.parametrize("change", ["names", "json", "field", "nothing"])
def test_a_config_that_does_not_belong_to_the_weights_is_65(good: Path, endpoint: str, change: str):
    data = json.loads(hub.config_json(weights.load(good).network.config))
    if change == "names":
        data["singleshot"]["class_names"] = ["Fußgänger", "car"]
    if change == "field":
        data["singleshot"]["surprise"] = 1
    texts = {"json": "{", "nothing": '{"architectures": ["Bert"]}'}
    publish(good, texts.get(change, json.dumps(data)), f"somebody/{change}")
    with pytest.raises(DataError) as caught:
        hub.fetch(f"somebody/{change}", endpoint=endpoint)
    assert caught.value.exit_code == 65 and "config.json" in str(caught.value)


def test_a_repository_that_is_not_there_or_has_no_weights_is_66(good: Path, endpoint: str):
    publish(good)
    with pytest.raises(InputMissingError, match="nobody/cells is not a local file; the hub was asked, and has"):
        hub.fetch("nobody/cells", endpoint=endpoint)
    del Handler.files["/somebody/cells/resolve/main/model.safetensors"]
    with pytest.raises(InputMissingError, match=r"has no config\.json and model\.safetensors"):
        hub.fetch("somebody/cells", endpoint=endpoint)


def test_without_network_it_is_69_in_one_line_unless_the_cache_has_it(good: Path, endpoint: str):
    publish(good)
    path = hub.fetch("somebody/cells", endpoint=endpoint)
    nowhere = "http://hub.invalid"
    assert hub.fetch("somebody/cells", endpoint=nowhere) == path
    with pytest.raises(UnreachableError, match="the hub was asked, and cannot be reached") as caught:
        hub.fetch("somebody/else", endpoint=nowhere)
    assert caught.value.exit_code == 69 and "\n" not in str(caught.value)


def test_an_invalid_repository_name_is_a_usage_error(good: Path):
    with pytest.raises(UsageError):
        hub.fetch("a/--b", endpoint="http://hub.invalid")
    for text in (
        "best.safetensors",
        "runs/x/best.safetensors",
        "a/b/c",
        "/etc/passwd",
        "../w",
        "name",
        "",
        "a/b.safetensors",
    ):
        assert not hub.is_repository_id(text)


def test_push_makes_the_repository_and_uploads_the_two_files(good: Path, monkeypatch: pytest.MonkeyPatch):
    seen: dict[str, Any] = {}

    def create(_self: Any, repository: str, **options: Any) -> str:
        seen["create"] = (repository, options)
        return f"https://hub/{repository}"

    def commit(_self: Any, repo_id: str, operations: Any, **_options: Any) -> None:
        seen["files"] = {each.path_in_repo: content(each) for each in operations}
        seen["upload"] = repo_id

    def content(operation: huggingface_hub.CommitOperationAdd) -> bytes:
        with operation.as_file() as stream:
            return stream.read()

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", commit)
    assert hub.push(good, "me/cells", private=True) == "https://hub/me/cells"
    assert seen["create"] == ("me/cells", {"private": True, "exist_ok": True}) and seen["upload"] == "me/cells"
    assert set(seen["files"]) == {"config.json", "model.safetensors"}
    assert seen["files"]["model.safetensors"] == good.read_bytes()


def test_push_names_the_cause_of_a_failure(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(DataError):
        hub.push(tmp_path / "bad.safetensors", "me/cells")
    for error, kind in (
        (errors.LocalTokenNotFoundError("none"), NotPermittedError),
        (OSError("down"), UnreachableError),
    ):

        def create(*_arguments: Any, error: Exception = error, **_options: Any) -> str:
            raise error

        monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create)
        with pytest.raises(kind):
            hub.push(good, "me/cells")


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (OSError(28, "No space left on device"), StorageError, 74),
        (PermissionError(13, "Permission denied"), NotPermittedError, 77),
        (errors.HfHubHTTPError.__bases__[0]("the connection broke"), UnreachableError, 69),
    ],
)
def test_network_and_disk_failures_are_distinguished(
    good: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[SingleshotError], code: int
):
    def fail(*_arguments: Any, **_options: Any) -> Any:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fail)
    for call in (lambda: hub.fetch("me/cells"), lambda: hub.push(good, "me/cells")):
        with pytest.raises(kind) as caught:
            call()
        assert caught.value.exit_code == code


def test_a_segmenter_is_refused_with_advice_that_helps(tmp_path: Path):
    path = tmp_path / "s.safetensors"
    weights.save(path, FCN(fcn_config("fcn8s-lite", ("road", "sky"), (64, 96))), {})
    with pytest.raises(DataError, match="a segmenter, and the hub shares detectors only") as caught:
        hub.push(path, "me/road")
    assert "--metric" not in str(caught.value) and caught.value.file == path
