"""Download detectors from the Hugging Face hub and upload them: `config.json` and `model.safetensors` in a repository.

`model.safetensors` is an ordinary, complete weights file. `config.json` repeats its config for readers who inspect a
repository before they download it; if the two differ, one of them was changed.
"""

from __future__ import annotations

import errno
import json
import re
import socket
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from singleshot import weights
from singleshot.detection.ssd import SSDConfig
from singleshot.errors import (
    ConfigError,
    DataError,
    InputMissingError,
    NotPermittedError,
    SingleshotError,
    UnreachableError,
    UsageError,
    from_os_error,
)

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*$")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


def is_repository_id(text: str) -> bool:
    """Return whether a text has the form of a hub id, `owner/name` or `owner/name@revision`, and of no local path.

    A text in a folder that exists here is a path that was mistyped, and the hub is never asked for it. One with a
    file's suffix is too, unless it has a revision.

    >>> is_repository_id("somebody/blood-cells@main"), is_repository_id("runs/best.pt"), is_repository_id("me/net-v1.5")
    (True, False, True)
    """
    if _ID.fullmatch(text) is None:
        return False
    return not Path(text.partition("/")[0]).is_dir() and ("@" in text or not _SUFFIX.search(text))


def fetch(repository: str, *, endpoint: str | None = None) -> Path:
    """Return the weights file of a repository in the hub's own cache; downloaded if it is absent or out of date.

    Args:
        repository: `owner/name` or `owner/name@revision`.
        endpoint: the address of another hub; None: the settings of the hub's client.

    Raises:
        InputMissingError: there is no such repository (or it is private), or no weights in it.
        UnreachableError: the hub does not answer and the cache has no copy.
        StorageError, NotPermittedError: the cache cannot be written.
        DataError: `config.json` does not belong to the weights, or these are damaged.
    """
    from huggingface_hub import constants, errors, hf_hub_download

    name, _, revision = repository.partition("@")
    offline = not _host_is_known(endpoint or constants.ENDPOINT)
    try:
        paths = [
            Path(hf_hub_download(name, file, revision=revision or None, endpoint=endpoint, local_files_only=offline))
            for file in (CONFIG, WEIGHTS)
        ]
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputMissingError(
            f"{repository} is not a local file; the hub was asked, and has no repository of that name for you",
            remedy="Check the name, or log in with `hf auth login`",
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise InputMissingError(
            f"{repository} on the hub has no {CONFIG} and {WEIGHTS}", remedy="It may be another program's model"
        ) from error
    except errors.HFValidationError as error:
        raise UsageError(f"{repository!r} is not a repository name", remedy="Write owner/name") from error
    except _failures(errors) as error:
        what = f"{repository} is not a local file; the hub was asked, and cannot be reached"
        raise _of_disk(error) or UnreachableError(what, remedy="Check path and network") from error
    _compare(paths[0], paths[1])
    return paths[1]


def push(path: Path, repository: str, *, private: bool = False, endpoint: str | None = None) -> str:
    """Upload a weights file to a repository of the hub, which is created if necessary. Returns its address.

    Raises:
        DataError, InputMissingError: the file is not a valid weights file of a detector.
        UsageError: `repository` is not a repository name.
        NotPermittedError: you are not logged in, or have no write access to the repository.
        UnreachableError: the hub does not answer.
        StorageError: the disk is full or failing.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    network = _detector(path).network
    hub = HfApi(endpoint=endpoint)
    try:
        address = hub.create_repo(repository, private=private, exist_ok=True)
        files = [
            CommitOperationAdd(WEIGHTS, path),
            CommitOperationAdd(CONFIG, config_json(network.config).encode("utf-8")),
        ]
        hub.create_commit(repository, files, commit_message="singleshot weights push")
    except errors.HFValidationError as error:
        raise UsageError(f"{repository!r} is not a repository name", remedy="Write owner/name") from error
    except errors.LocalTokenNotFoundError as error:
        raise NotPermittedError("not logged in to the hub", remedy="Run `hf auth login`") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise NotPermittedError(
                f"no permission to write to {repository} on the hub ({status})", remedy="Run `hf auth login`"
            ) from error
        raise UnreachableError(f"the hub answers {status}", remedy="Try again later") from error
    except _failures(errors) as error:
        what = f"the hub cannot be reached ({error})"
        raise _of_disk(error) or UnreachableError(what, remedy="Check the network") from error
    return str(address)


def _failures(errors: Any) -> tuple[type[Exception], ...]:
    """Exceptions of the client for network and disk; its connection errors need not be OSErrors."""
    return OSError, getattr(errors, "HTTPError", OSError)


_DISK_ERRORS = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EIO}
_REMEDY = "Set HF_HOME to another folder"


def _of_disk(error: Exception) -> SingleshotError | None:
    """The error of ours for a failure of the hub's cache on the disk; None for any other failure."""
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return NotPermittedError("the hub's cache is mounted read-only", remedy=_REMEDY)
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return from_os_error(error, Path(error.filename or "the hub's cache"), "write", elsewhere=_REMEDY)
    return None


def _detector(path: Path) -> weights.WeightsFile:
    try:
        return weights.load(path)
    except DataError as error:
        if error.kind != "other-task":
            raise
        what = "a segmenter, and the hub shares detectors only"
        raise DataError(what, kind="other-task", remedy="Share the file itself", file=path) from error


def config_json(config: SSDConfig) -> str:
    """Return the text of `config.json`: the config of the weights file, and the library that reads it."""
    return json.dumps({"library_name": "singleshot", "singleshot": config.to_json_dict()}, indent=2) + "\n"


def _host_is_known(endpoint: str) -> bool:
    """Whether the hub's name resolves, or a proxy resolves it: the client itself tries for half a minute."""
    if urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(endpoint).hostname, None)
    except OSError:
        return False
    return True


def _compare(config_path: Path, weights_path: Path) -> None:
    try:
        stated = json.loads(config_path.read_text(encoding="utf-8"))["singleshot"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"singleshot did not write this {CONFIG}", kind="foreign-weights", file=config_path) from error
    try:
        agreed = weights.config_of(stated) == _detector(weights_path).network.config
    except ConfigError as error:
        raise DataError(error.message, kind="hub-config", remedy=error.remedy, file=config_path) from error
    if not agreed:
        raise DataError(
            f"{CONFIG} and {WEIGHTS} do not belong together",
            kind="hub-config",
            remedy="Push the weights again",
            file=config_path,
        )
