"""Pascal VOC from its publisher or a mirror: fetched, checked, unpacked, and ready for `train`.

The server is slow and sometimes down, so a broken download is continued, a part that is there is not fetched again,
and any mirror that keeps the archives' names will do: the hash decides. An archive is unpacked into a hidden folder
first, and its files are moved when it is complete; no file of the user's is replaced.

An archive may do harm, whoever made it: a member may name a path outside the folder, be a link that leads there, or
hold terabytes of zeros. Names are refused by Python's own rules for data (`tarfile.data_filter`, PEP 706); links and
devices are refused altogether, for data sets need none; sizes are added up before anything of a member is written.

Names and hashes: the archives of the VOC2007 and VOC2012 challenges; MD5 is what their community publishes.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from singleshot.errors import CannotCreateError, DataError, UsageError, os_errors
from singleshot.storage import atomic, download

MAX_MEMBERS = 500_000
PUBLISHER = "http://host.robots.ox.ac.uk/pascal/VOC"


@dataclass(frozen=True)
class Archive:
    """One file to fetch.

    Args:
        file_name: its name, the same on every mirror.
        folder: its folder on the publisher's server; in capitals, the folder that it unpacks to.
        md5: of the whole file.
        max_bytes: its files, unpacked, are not larger than this.
    """

    file_name: str
    folder: str
    md5: str
    max_bytes: int


ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "voc07": (
        Archive("VOCtrainval_06-Nov-2007.tar", "voc2007", "c52e279531787c972589f7e41ab4ae64", 1 << 30),
        Archive("VOCtest_06-Nov-2007.tar", "voc2007", "b6e924de25625d8de591ea690078ad9f", 1 << 30),
    ),
    "voc12": (Archive("VOCtrainval_11-May-2012.tar", "voc2012", "6cd6e144f989b92b3379bac3b3de84fd", 4 << 30),),
}

Observer = Callable[[str, int, int | None], None]
"""Called with the step (`VOCtest_06-Nov-2007.tar` or `unpacking …`), the bytes that are done, and their total."""


def fetch(
    names: Sequence[str],
    out: Path,
    *,
    mirror: str | None = None,
    keep_archives: bool = False,
    observer: Observer | None = None,
    archives: dict[str, tuple[Archive, ...]] | None = None,
    wait_s: float = download.WAIT_S,
) -> list[Path]:
    """Fetch data sets into `out/VOCdevkit/VOC2007` and `…/VOC2012`; what exists already is left as it is.

    Args:
        names: which ones.
        out: the folder; it may exist, and may hold an earlier, unfinished fetch.
        mirror: an http address of a folder that holds the archives under their names, instead of the publisher's.
        keep_archives: leave the archives in `out/archives` when they are unpacked.
        observer: see `Observer`.
        archives: others than VOC's, for tests.
        wait_s: seconds before a broken download is tried again.

    Returns:
        The folders in `out/VOCdevkit`.

    Raises:
        UnreachableError: no network, or the server does not answer. What has arrived is kept for the next call.
        DataError: a file is not what was published, or an archive is unsafe; nothing of it is kept.
        CannotCreateError: a file of another content is in the way.
        NotPermittedError, StorageError: the file system refuses, or fails.
    """
    table = ARCHIVES if archives is None else archives
    unknown = [name for name in names if name not in table]
    if unknown or not names:
        message = f"no data set is called {', '.join(unknown)}" if unknown else "no data set is named"
        raise UsageError(message, remedy=f"Known are {', '.join(table)}")
    observe = observer or (lambda _step, _done, _total: None)
    for name in dict.fromkeys(names):
        for archive in table[name]:
            marker = out / "archives" / f"{archive.file_name}.json"
            if marker.is_file() and (out / "VOCdevkit" / archive.folder.upper()).is_dir():
                continue
            base = mirror.rstrip("/") if mirror is not None else f"{PUBLISHER}/{archive.folder}"
            file = download.fetch(
                f"{base}/{archive.file_name}",
                to=out / "archives" / archive.file_name,
                md5=archive.md5,
                observer=lambda done, total, archive=archive: observe(archive.file_name, done, total),
                wait_s=wait_s,
            )
            files = _unpack_into(file, out, archive, observe)
            # The marker comes last: an unpacking that was cut off is done again.
            atomic.write_text(marker, json.dumps({"md5": archive.md5, "files": files, "from": base}) + "\n")
            if not keep_archives:
                file.unlink()
    return sorted(path for path in (out / "VOCdevkit").glob("*") if path.is_dir())


def _unpack_into(file: Path, out: Path, archive: Archive, observe: Observer) -> int:
    """Unpack into a hidden folder in `out`, then move every file into `out`. Return the number of files."""
    hidden = out / f".{archive.file_name}.{os.getpid()}.tmp"
    size = file.stat().st_size
    try:
        with os_errors(out, "write"):
            hidden.mkdir(parents=True)
            files, _ = unpack(
                file,
                hidden,
                max_bytes=archive.max_bytes,
                on_bytes=lambda done: observe(f"unpacking {archive.file_name}", done, size),
            )
            for path in sorted(path for path in hidden.rglob("*") if path.is_file()):
                _move(path, out / path.relative_to(hidden))
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return files


def _move(path: Path, target: Path) -> None:
    """Move a file, unless the target has the same bytes already (an earlier fetch was cut off here)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() or target.is_symlink():
        if target.is_file() and target.read_bytes() == path.read_bytes():
            return
        raise CannotCreateError("another file is in the way", remedy="Choose another --out", file=target)
    path.replace(target)


def unpack(
    archive: Path, folder: Path, *, max_bytes: int, on_bytes: Callable[[int], None] | None = None
) -> tuple[int, int]:
    """Write the files of a tar archive, compressed or not, into an existing folder.

    Args:
        archive: the file.
        folder: where its files go; files with the same names are replaced.
        max_bytes: the archive is refused before its files, taken together, would be larger.
        on_bytes: called with the bytes that are written so far.

    Returns:
        The number of files, and of their bytes.

    Raises:
        DataError: with the member's name: a name or link that leads outside, a link or a device (`unsafe-archive`),
            too large or too many (`archive-bomb`); or the file is no tar archive or is torn (`bad-archive`).
        OSError: what the file system raises. In every case what was written before stays, inside the folder.
    """
    files = total = members = 0
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                members += 1
                total += max(member.size, 0)
                if total > max_bytes or members > MAX_MEMBERS:
                    message = (
                        f"at {member.name!r} the archive grows beyond {max_bytes:,} bytes or {MAX_MEMBERS:,} members"
                    )
                    raise DataError(message, kind="archive-bomb", remedy="Do not use it", file=archive)
                if not (member.isreg() or member.isdir()):
                    message = f"{member.name!r} is neither a file nor a folder but a link or a device"
                    raise DataError(message, kind="unsafe-archive", remedy="Do not use it", file=archive)
                tar.extract(member, folder, filter="data")
                files += member.isreg()
                if on_bytes is not None:
                    on_bytes(total)
    except tarfile.FilterError as error:
        message = f"{error.tarinfo.name!r} leads out of the folder"
        raise DataError(message, kind="unsafe-archive", remedy="Do not use it", file=archive) from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        remedy = "Download it again"
        raise DataError(
            f"not a complete tar archive ({error})", kind="bad-archive", remedy=remedy, file=archive
        ) from error
    return files, total
