"""What a user names, as what there is to look at: images, videos, cameras, and streams on the network.

A path, a folder, a pattern such as `in/*.jpg`, the number of a camera, `-` for an image on standard input. A file is an
image or a video by its content, so that a wrong extension misleads nobody; in a folder the extension decides which
files are meant at all. Network addresses are refused unless they are allowed and those of a live stream
(`network_camera`): what reads videos would open any other too, and whatever it leads to.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from singleshot.data.folders import is_helper
from singleshot.errors import DataError, InputMissingError, UsageError, os_errors, visible
from singleshot.images import IMAGE_SUFFIXES
from singleshot.prediction.image_reader import STANDARD_INPUT
from singleshot.prediction.network_camera import Address, is_stream
from singleshot.prediction.video_reader import SUFFIXES as VIDEO_SUFFIXES
from singleshot.prediction.video_reader import looks_like_video


@dataclass(frozen=True)
class Sources:
    """What is to be looked at, each kind in the order in which it was named; a file that is named twice comes once.

    Args:
        images: image files, and files that are no videos; `STANDARD_INPUT` among them for `-`.
        videos: video files.
        cameras: numbers of cameras.
        streams: addresses of streams on the network.
        unread: what a folder contains besides and is not read: files whose suffix is not an image's or a video's, and
            subfolders; with `recursive` those that are links. Hidden ones and those of other programs (`Thumbs.db`) do
            not count.
    """

    images: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    cameras: tuple[int, ...] = ()
    streams: tuple[Address, ...] = ()
    unread: tuple[Path, ...] = ()

    @property
    def moving(self) -> tuple[Path | int | Address, ...]:
        """Everything but images, in the order in which it is predicted."""
        return (*self.videos, *self.cameras, *self.streams)

    def warning(self) -> str | None:
        """Return one line that counts `unread` by suffix and names the first; None if there are none."""
        return _unread(self.unread)


def _unread(paths: Sequence[Path]) -> str | None:
    """Count files by suffix, subfolders, and subfolders that are links, and name the first of each in one line."""
    folders = [path for path in paths if path.is_dir()]
    files = [path for path in paths if path not in folders]
    kinds = Counter(path.suffix.lower() or "without a suffix" for path in files)
    by_kind = ", ".join(f"{count} {suffix}" for suffix, count in kinds.most_common(5)) + "; "
    parts = [
        _counted(files, "file is", "files are", details=by_kind),
        _counted([path for path in folders if not path.is_symlink()], "subfolder is", "subfolders are"),
        _counted([path for path in folders if path.is_symlink()], "link to a folder is", "links to folders are"),
    ]
    if parts[1] is not None:
        parts[1] += ": add --recursive"
    if parts[2] is not None:
        parts[2] += ": name what they lead to"
    return visible("; ".join(part for part in parts if part is not None)) or None


def _counted(paths: Sequence[Path], one: str, many: str, *, details: str = "") -> str | None:
    """Say how many of these are not read, and which is the first; None for none.

    >>> _counted([Path("a/b"), Path("a/c")], "subfolder is", "subfolders are")
    '2 subfolders are not read (first a/b)'
    """
    return f"{len(paths)} {one if len(paths) == 1 else many} not read ({details}first {paths[0]})" if paths else None


def resolve(names: Sequence[str | Path], *, recursive: bool = False, allow_network: bool = False) -> Sources:
    """The images, videos, cameras and streams that are meant.

    Args:
        names: files, folders (images and videos directly in them, by name), patterns with `*`, `?` or `[…]` (`**`
            for folders in folders), numbers of cameras, `-` for an image on standard input (a file of that name is
            `./-`), and addresses of live streams. A file that is there is never taken for a pattern.
        recursive: use images and videos in subfolders of folders too.
        allow_network: whether addresses (`rtsp://…`, `http://…`) are taken.

    Raises:
        InputMissingError: nothing of that name, an empty folder, or a pattern that fits nothing.
        DataError: a pipe or a device by its name.
        UsageError: a network address that is not allowed, or not of a stream.
    """
    files: dict[Path, None] = {}
    cameras: dict[int, None] = {}
    streams: dict[Address, None] = {}
    unread: list[Path] = []
    for name in names:
        text, path = str(name), Path(name)
        if name == "-":
            files[STANDARD_INPUT] = None
        elif path.is_dir():
            inside, others = _inside(path, recursive)
            files |= dict.fromkeys(inside)
            unread += others
        elif path.is_fifo() or path.is_char_device():
            # The processes that read images could not even see a shell's <(…).
            remedy = "Name a file, or give - and pipe the image into this command: … - < street.jpg"
            raise DataError("not a plain file", kind="not-a-file", remedy=remedy, file=path)
        elif path.exists() or path.is_symlink():
            files[path if path != STANDARD_INPUT else path.absolute()] = None
        elif text.isdecimal() and text.isascii():
            cameras[int(text)] = None
        elif is_stream(text):
            address = Address(text)
            if not allow_network:
                remedy = "Add --allow-network (allow_network=True) if it is a live stream; else fetch it first"
                raise UsageError(f"{address} is no local file", remedy=remedy)
            streams[address] = None
        elif _is_address(text):
            raise UsageError(f"{text} is no local file", remedy="Fetch it first: only local files are read")
        elif glob.has_magic(text):
            folder = next((each for each in path.parents if each.is_dir()), Path())  # may have brackets in its name
            pattern = os.path.join(glob.escape(str(folder)), path.relative_to(folder))  # noqa: PTH118
            fitting = sorted(Path(each) for each in glob.glob(pattern, recursive=True))  # noqa: PTH207 (`Path.glob` knows no absolute patterns)
            named = set(path.parts)
            found = [each for each in fitting if each.is_file() and not any(map(is_helper, {*each.parts} - named))]
            if not found:
                remedy = f"Name folders without a pattern, or add {os.sep}*" if fitting else "Check it"
                raise InputMissingError("no file fits this pattern", remedy=remedy, file=path)
            files |= dict.fromkeys(found)
        else:
            raise InputMissingError("no such file", remedy="Check the path", file=path)
    videos = dict.fromkeys(file for file in files if file != STANDARD_INPUT and looks_like_video(file))
    others = tuple(file for file in files if file not in videos)
    return Sources(others, tuple(videos), tuple(cameras), tuple(streams), tuple(unread))


def _inside(folder: Path, recursive: bool) -> tuple[list[Path], list[Path]]:
    """Return the images and videos of a folder by name, and what else is in it, without those that are never data.

    Symbolic links to folders are not followed, so that none can lead round in a circle.
    """
    known = VIDEO_SUFFIXES.union(IMAGE_SUFFIXES)
    files: list[Path] = []
    others: list[Path] = []
    waiting = [folder]
    while waiting:
        parent = waiting.pop()
        with os_errors(parent, "read"):
            entries = sorted(path for path in parent.iterdir() if not is_helper(path.name))
        folders = [path for path in entries if path.is_dir()]
        files += [path for path in entries if path.suffix.lower() in known and not path.is_dir()]
        others += [path for path in entries if path.suffix.lower() not in known and not path.is_dir()]
        followed = [path for path in folders if recursive and not path.is_symlink()]
        waiting += reversed(followed)
        others += [path for path in folders if path not in followed]
    if not files:
        message = "; ".join(filter(None, ["no images or videos in this folder", _unread(others)]))
        remedy = "Name a folder of them" if recursive else "Name a folder of them, or add --recursive"
        raise InputMissingError(message, remedy=remedy, file=folder)
    return files, others


def _is_address(text: str) -> bool:
    """Whether FFmpeg would take it for something that is not a file: `http://…`, `rtsp:…`, `concat:a|b`.

    >>> _is_address("http://a/b.mp4"), _is_address("concat:a|b"), _is_address("a/b.mp4"), _is_address("C:/b.mp4")
    (True, True, False, False)
    """
    scheme, colon, _ = text.partition(":")
    return bool(colon) and len(scheme) > 1 and scheme.isalnum()
