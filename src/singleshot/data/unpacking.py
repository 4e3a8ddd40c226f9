"""A tar archive unpacked so that it can do no harm, whoever made it.

A member may name a place outside the folder, be a link that leads there, or hold terabytes of zeros. Names are refused
by Python's own rules for data (`tarfile.data_filter`, PEP 706); links and devices are refused altogether, for data
sets need none; sizes are added up before anything of a member is written.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

from singleshot.errors import DataError

MAX_MEMBERS = 500_000


def unpack(
    archive: Path, folder: Path, *, max_bytes: int, on_bytes: Callable[[int], None] | None = None
) -> tuple[int, int]:
    """Write the files of a tar archive, compressed or not, into a folder that is there.

    Args:
        archive: the file.
        folder: where its files go; what it holds under the same names is replaced.
        max_bytes: the archive is refused before its files, taken together, would be larger.
        on_bytes: called with the bytes that are written so far.

    Returns:
        How many files there were, and their bytes together.

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
                    what = f"at {member.name!r} the archive grows beyond {max_bytes:,} bytes or {MAX_MEMBERS:,} members"
                    raise DataError(what, kind="archive-bomb", remedy="Do not use it", file=archive)
                if not (member.isreg() or member.isdir()):
                    what = f"{member.name!r} is neither a file nor a folder but a link or a device"
                    raise DataError(what, kind="unsafe-archive", remedy="Do not use it", file=archive)
                tar.extract(member, folder, filter="data")
                files += member.isreg()
                if on_bytes is not None:
                    on_bytes(total)
    except tarfile.FilterError as error:
        what = f"{error.tarinfo.name!r} leads out of the folder"
        raise DataError(what, kind="unsafe-archive", remedy="Do not use it", file=archive) from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        remedy = "Download it again"
        raise DataError(f"no whole tar archive ({error})", kind="bad-archive", remedy=remedy, file=archive) from error
    return files, total
