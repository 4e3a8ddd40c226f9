"""A list of pictures and their masks, `picture mask` a line → pairs, with what is wrong with a line as a fault.

Names of files hold spaces, and lists hold the paths of their author's machine (SegNet's begin with `/SegNet/CamVid/`);
both are told by what lies beside the list. Pictures are called by their stems, or where two share one (`0001.png` of
two sequences) by their paths.
"""

from __future__ import annotations

from pathlib import Path

from singleshot.data.masks.mask_samples import Pair
from singleshot.errors import DataError, Fault, InputMissingError
from singleshot.storage.files import file_bytes, opened

MAX_BYTES = 64 << 20


def is_list(file: Path) -> bool:
    """Whether the first line of a file is a pair; not for what is no plain file. Raises NotPermittedError."""
    try:
        with opened(file) as stream:
            text = stream.readline(4096).decode("utf-8-sig", "surrogateescape").strip()
    except (DataError, InputMissingError):
        return False
    return _columns(text, file.parent) is not None


def read(file: Path) -> tuple[list[Pair], tuple[Fault, ...]]:
    """The pairs of a list, in its order, with paths below its folder.

    A picture that is listed twice is used once, and gives a warning (`duplicate-id`).

    Raises:
        DataError: a line is no pair (`bad-list`), or the file is no plain one or too large.
        NotPermittedError, StorageError: as the file system says.
    """
    found: dict[Path, tuple[int, str, Path]] = {}
    faults: list[Fault] = []
    for line, text in lines(file):
        columns = _columns(text, file.parent)
        if columns is None:
            what = f"{len(text.split())} columns and no two of them a picture and its mask"
            remedy = "Write both relative to this folder, with a tab between names that hold spaces"
            raise DataError(what, kind="bad-list", remedy=remedy, file=file, line=line)
        image, mask = (_below(file.parent, column) for column in columns)
        first, *_ = found.setdefault(image, (line, columns[0], mask))
        if first != line:
            faults.append(repeated(file, line, columns[0], first))
    stems = [image.stem for image in found]
    own = len(set(stems)) == len(stems)
    return [
        Pair(image.stem if own else name.lstrip("/").removesuffix(image.suffix), image, mask, file, line)
        for image, (line, name, mask) in found.items()
    ], tuple(faults)


def lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a list that hold something, with their 1-based numbers. Raises what `read` raises."""
    try:
        data = file_bytes(file, MAX_BYTES)
    except DataError as error:
        if error.kind == "empty-file":
            return []
        raise
    rows = data.decode("utf-8-sig", "surrogateescape").split("\n")
    return [(number, row.strip()) for number, row in enumerate(rows, start=1) if row.strip()]


def repeated(file: Path, line: int, name: str, first: int) -> Fault:
    """The fault of a line that names what an earlier one named."""
    what = f"{name} is already in line {first}; it is used once. Delete this line."
    return Fault(file, line, "duplicate-id", "warning", what)


def _columns(text: str, folder: Path) -> tuple[str, str] | None:
    """The picture and the mask of a line: by a tab, by the only space, or by the one at which both files are there."""
    if "\t" in text:
        parts = [part.strip() for part in text.split("\t")]
        return (parts[0], parts[1]) if len(parts) == 2 else None
    words = text.split()
    if len(words) == 2:
        return words[0], words[1]
    cuts = [(text[:at].rstrip(), text[at + 1 :].lstrip()) for at, letter in enumerate(text) if letter == " "]
    there = {cut for cut in cuts if all(cut) and all(_below(folder, name).is_file() for name in cut)}
    return there.pop() if len(there) == 1 else None


def _below(folder: Path, name: str) -> Path:
    """Where a file lies: below the list's folder; of another machine's path, as much of its end as is there."""
    parts = name.strip("/").split("/")
    ends = [folder.joinpath(*parts[start:]) for start in range(len(parts) if name.startswith("/") else 1)]
    return next((path for path in ends if path.is_file()), ends[0])
