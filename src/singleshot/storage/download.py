"""Download a file: checked by its hash, continued after a broken connection, cached.

Weights and data sets are hundreds of megabytes from servers that are slow and sometimes down. What has arrived stays
beside the target as `<name>.part`, and the next try requests the rest alone, if the server still has the same version
(`<name>.part.tag` stores its tag); nothing appears under the target's own name before its hash is checked. Processes
that want the same file wait for each other, and the later ones find it.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from singleshot.errors import DataError, UnreachableError, os_errors

Observer = Callable[[int, int | None], None]
"""Receives the number of bytes so far and in all (None where the server does not state it)."""
Opener = Callable[[urllib.request.Request, float], Any]
"""Opens a request with a time-out in seconds, as `urllib.request.urlopen` does."""

CHUNK = 1 << 18
TRIES_WITHOUT_PROGRESS = 3
WAIT_S = 1.0
TIMEOUT_S = 30.0


def fetch(
    url: str,
    *,
    to: Path,
    sha256: str | None = None,
    md5: str | None = None,
    observer: Observer | None = None,
    opener: Opener | None = None,
    wait_s: float = WAIT_S,
) -> Path:
    """Download `url` to `to`, unless that exists with the right hash (or without a given one).

    Args:
        url: an http or https address.
        to: the target file; missing folders are made.
        sha256: hexadecimal digits, all of them or only the first (torchvision's file names hold eight).
        md5: the same for MD5, which some publishers still use.
        observer: see `Observer`.
        opener: see `Opener`; for tests and for special proxies.
        wait_s: seconds before another try, doubled at each.

    Returns:
        `to`.

    Raises:
        UnreachableError: no network, no such host, the server refuses, or the connection breaks again and again. What
            has arrived stays, and the next call continues it.
        DataError: the complete file has a wrong hash; it is removed.
        CannotCreateError, NotPermittedError, StorageError: the target cannot be written.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise UnreachableError(f"{url} is neither an http nor an https address", remedy="Check the address")
    if to.is_file() and _fault(to, sha256, md5) is None:
        return to
    part = to.with_name(f"{to.name}.part")
    with os_errors(to, "write", elsewhere="Set SINGLESHOT_CACHE to another folder"):
        to.parent.mkdir(parents=True, exist_ok=True)
        from singleshot.storage.lock import locked  # a tenth of a second that weights at hand need not wait for

        with locked(part.with_name(f"{part.name}.lock")):
            if to.is_file() and _fault(to, sha256, md5) is None:  # another process has downloaded it meanwhile
                return to
            part.touch()
            try:
                _fill(part, url, sha256, md5, observer, opener or _open, wait_s)
                part.replace(to)
            finally:
                with contextlib.suppress(OSError):
                    if part.stat().st_size == 0:
                        part.unlink()
    return to


def _fill(
    part: Path,
    url: str,
    sha256: str | None,
    md5: str | None,
    observer: Observer | None,
    opener: Opener,
    wait_s: float,
) -> None:
    """Download the rest of a part file and check it. Raises DataError, and removes it, where its hash is wrong."""
    if sha256 is None and md5 is None and not _tag(part).is_file():
        os.truncate(part, 0)  # nothing would tell whether the rest is of the same file
    continued = part.stat().st_size > 0
    _download(url, part, observer, opener, wait_s)
    fault = _fault(part, sha256, md5)
    if fault is not None and continued:
        # The start may be another file's, or an older version's: once more from nothing.
        os.truncate(part, 0)
        _download(url, part, observer, opener, wait_s)
        fault = _fault(part, sha256, md5)
    _tag(part).unlink(missing_ok=True)
    if fault is not None:
        part.unlink()
        raise DataError(
            f"{url} is not the file that was published: {fault}",
            kind="wrong-hash",
            remedy="Try again later, or another mirror",
        )


def hash_of(path: Path, kind: str = "sha256") -> str:
    """Return the hexadecimal hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _open(request: urllib.request.Request, timeout_s: float) -> Any:
    return urllib.request.urlopen(request, timeout=timeout_s)


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _download(url: str, part: Path, observer: Observer | None, opener: Opener, wait_s: float) -> None:
    """Fill `part` up to the end of the file, in as many connections as it takes while each brings something."""
    failures, furthest = 0, part.stat().st_size if part.is_file() else 0
    while True:
        problem = _one_connection(url, part, observer, opener)
        if problem is None:
            return
        after = part.stat().st_size if part.is_file() else 0
        # Against the furthest, not the last: a server without ranges begins anew each time, and might for ever.
        failures, furthest = (0, after) if after > furthest else (failures + 1, furthest)
        if failures >= TRIES_WITHOUT_PROGRESS:
            kept = f"; {after / 1e6:.1f} MB are kept, run again to go on" if after else ""
            raise UnreachableError(f"{url} cannot be fetched: {problem}{kept}", remedy="Check the network")
        time.sleep(wait_s * 2 ** max(failures - 1, 0))


def _one_connection(url: str, part: Path, observer: Observer | None, opener: Opener) -> str | None:
    """What broke the connection, or None if the file is whole. Raises UnreachableError where trying is no use."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "singleshot", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        with contextlib.suppress(OSError):
            request.add_header("If-Range", _tag(part).read_text(encoding="ascii"))
    try:
        with opener(request, TIMEOUT_S) as response:
            start, total = _extent(response, have)
            if not start:
                _remember(response, part)
            with part.open("r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                done = start
                while True:
                    try:
                        chunk = response.read(CHUNK)
                    except (OSError, http.client.HTTPException) as error:
                        raise _BrokenError(f"{error}" or type(error).__name__) from error
                    if not chunk:
                        break
                    file.write(chunk)
                    done += len(chunk)
                    if observer is not None:
                        observer(done, total)
            return None if total is None or done >= total else f"the connection ended after {done:,} of {total:,} bytes"
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # more is here than there: somebody else's start
            os.truncate(part, 0)
            return "the server has a shorter file"
        if error.code in (408, 429) or error.code >= 500:
            return f"the server answers {error.code} {error.reason}"
        raise UnreachableError(
            f"{url}: the server answers {error.code} {error.reason}", remedy="The file may have moved: get it yourself"
        ) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, socket.gaierror):  # no use in asking again at once
            raise UnreachableError(
                f"{url} cannot be fetched: {urlsplit(url).hostname} is not found", remedy="Check the network"
            ) from error
        return f"{error.reason}"
    except (_BrokenError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        return f"{error}" or type(error).__name__


def _remember(response: Any, part: Path) -> None:
    """Keep what tells this version of the file from another (RFC 9110, section 13.1.5), if the server says."""
    tag = response.headers.get("ETag", "")
    tag = response.headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag
    if tag.isascii() and tag.isprintable() and tag:
        _tag(part).write_text(tag, encoding="ascii")
    else:
        _tag(part).unlink(missing_ok=True)


class _BrokenError(Exception):
    """The connection failed while it was read: apart from OSErrors of the disk."""


def _extent(response: Any, have: int) -> tuple[int, int | None]:
    """Where the answer's bytes belong and how long the whole file is, by its headers (RFC 9110, section 14.4)."""
    length = response.headers.get("Content-Length", "")
    if response.status == 206:
        unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
        span, _, whole = rest.partition("/")
        if unit == "bytes" and span.partition("-")[0] == str(have):
            return have, int(whole) if whole.isdecimal() else None
        raise _BrokenError("the server answered with another part than was asked for")
    return 0, int(length) if length.isdecimal() else None


def _fault(path: Path, sha256: str | None, md5: str | None) -> str | None:
    """What is wrong with the hash, or None."""
    for kind, wanted in (("sha256", sha256), ("md5", md5)):
        if wanted is not None and not (found := hash_of(path, kind)).startswith(wanted.lower()):
            return f"its {kind.upper()} is {found[: max(len(wanted), 8)]} and not {wanted.lower()}"
    return None
