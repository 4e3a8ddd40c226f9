"""The errors a user can meet, the exit code of each, and the one mapping from OSError to them.

Every message is one line, `file:line: message. remedy`, so that a user can fix the fault from the line alone and an
editor can jump to it. Anything that is not a `SingleshotError` is our own bug and exits with 70. The codes follow
sysexits.h where it has one.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

Verb = Literal["read", "write", "create"]
Severity = Literal["fatal", "warning", "note"]
SHOWN_FAULTS = 20


def visible(text: str) -> str:
    r"""Return the text as one harmless line, with control characters, direction marks and stray bytes escaped.

    File and class names are untrusted: one with an escape sequence or a newline could rewrite the terminal or fake a
    message of ours.

    >>> print(visible("a\x1b[2Jb\n.jpg"))
    a\x1b[2Jb\n.jpg
    """
    if text.isascii() and text.isprintable():
        return text
    hidden = ("Cc", "Cs", "Cf", "Zl", "Zp", "Co", "Cn")
    # U+200D joins the parts of one emoji, and is harmless.
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in hidden and each != "\u200d" else each
        for each in text
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to an unknown one, or None. Case is ignored.

    >>> nearest("rbc", ["WBC", "RBC", "Platelets"]), nearest("xyz", ["WBC"])
    ('RBC', None)
    """
    by_case = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), by_case, n=1)
    return by_case[near[0]] if near else None


def sentence(text: str) -> str:
    """Return the text with a full stop, unless it already ends like a sentence.

    >>> sentence("Fix it"), sentence("Did you mean bccd?")
    ('Fix it.', 'Did you mean bccd?')
    """
    return text if text.endswith((".", "?", "!", "…")) else f"{text}."


@dataclass(frozen=True)
class Fault:
    """One fault of the user's data.

    Args:
        file: the file at fault.
        line: its 1-based line, or None where the format has no lines (images).
        kind: a short, stable name such as `zero-size-box`; counts are made by it.
        severity: `fatal` refuses training, `warning` should be checked, `note` is for the record.
        message: the fault and its remedy, in one line.
    """

    file: Path
    line: int | None
    kind: str
    severity: Severity
    message: str

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}" if self.line is not None else f"{self.file}"
        return visible(f"{position}: {self.message}")

    def as_json(self) -> dict[str, Any]:
        """Return the fault for JSON: `file` as text, the rest unchanged."""
        return asdict(self) | {"file": str(self.file)}


class SingleshotError(Exception):
    """A failure with a message of one line and a remedy.

    Args:
        message: the failure, without a full stop at its end.
        remedy: what to do about it, as a sentence without a full stop; None: nothing.
        file: the file at fault, if one is.
        line: its 1-based line.
    """

    exit_code = 70

    def __init__(
        self, message: str, *, remedy: str | None = None, file: Path | str | None = None, line: int | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.remedy, self.line = message, remedy, line
        self.file = None if file is None else Path(file)

    def __str__(self) -> str:
        position = ""
        if self.file is not None:
            position = f"{self.file}:{self.line}: " if self.line is not None else f"{self.file}: "
        remedy = f" {sentence(self.remedy)}" if self.remedy else ""
        return visible(f"{position}{sentence(self.message)}{remedy}")


class UsageError(SingleshotError):
    """The call itself is wrong: an unknown option, an output that is also the input."""

    exit_code = 2


class DataError(SingleshotError):
    """A file was read and its content is bad."""

    exit_code = 65

    def __init__(
        self,
        message: str,
        *,
        kind: str = "bad-data",
        remedy: str | None = None,
        file: Path | str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy, file=file, line=line)
        self.kind = kind

    def as_fault(self) -> Fault:
        """Return the failure as a record, for work that continues after a bad item. `file` must be known."""
        if self.file is None:
            raise ValueError("a fault needs a file")
        message = f"{sentence(self.message)} {sentence(self.remedy)}" if self.remedy else sentence(self.message)
        return Fault(self.file, self.line, self.kind, "fatal", message)


class FaultyDataError(DataError):
    """Several faults at once: the first few are listed, then the total.

    Args:
        faults: the fatal faults, at least one, in the order in which they were met.
        remedy: what the user can do about all of them.
    """

    def __init__(self, faults: Sequence[Fault], *, remedy: str) -> None:
        self.faults = tuple(faults)
        listed = "\n".join(f"  {fault}" for fault in self.faults[:SHOWN_FAULTS])
        more = len(self.faults) - SHOWN_FAULTS
        tail = f"\n  … and {more} more" if more > 0 else ""
        noun = "fault" if len(self.faults) == 1 else "faults"
        super().__init__(f"{len(self.faults)} {noun} in the data:\n{listed}{tail}\n", remedy=remedy)

    def __str__(self) -> str:
        return f"{self.message}{sentence(self.remedy or '')}"


class InputMissingError(SingleshotError):
    """A file or folder that the user named does not exist."""

    exit_code = 66


def fault_of(error: DataError | InputMissingError, path: Path) -> Fault:
    """Return an error of reading as a fault, with `path` where the error names no file."""
    if isinstance(error, DataError) and error.file is not None:
        return error.as_fault()
    return Fault(error.file or path, None, "missing-picture", "fatal", error.message)


class UnreachableError(SingleshotError):
    """The network or a service did not answer."""

    exit_code = 69


class ParityError(SingleshotError):
    """The results of an export differ from those of its model."""

    exit_code = 70


class CannotCreateError(SingleshotError):
    """An output cannot be created, most often because it already exists."""

    exit_code = 73


class StorageError(SingleshotError):
    """Reading or writing failed: disk full, I/O error."""

    exit_code = 74


class StoppedError(SingleshotError):
    """The work stopped early and can be resumed."""

    exit_code = 75


class SignalledError(StoppedError):
    """A signal stopped the work, which was saved and can be resumed. Exits with 128 + the signal's number."""

    def __init__(self, message: str, *, number: int, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.exit_code = 128 + number


class CallbackError(StoppedError):
    """A callback of the user's raised an exception, which ended the training. It was saved and can be resumed."""


class NotPermittedError(SingleshotError):
    """The file system denies access."""

    exit_code = 77


class ConfigError(SingleshotError):
    """A recipe, a field or a setting is wrong."""

    exit_code = 78


class OSErrorRow(NamedTuple):
    """One row of `OS_ERRORS`: the class, message and remedy for some values of errno.

    Args:
        names: names of the module `errno`, separated by spaces. Those that this system does not define are ignored.
        verbs: what was tried: `read`, `write` (which includes to replace and to remove), `create` (an output).
        error: the class, and with it the exit code; None: StorageError, or CannotCreateError for `create`.
        message: `{reason}` is the system's own text.
        remedy: `{elsewhere}` is the caller's remedy where another target would do.
    """

    names: str
    verbs: str
    error: type[SingleshotError] | None
    message: str
    remedy: str | None


_UNSUPPORTED, _NETWORK = "ENOLCK ENOSYS ENOTSUP EOPNOTSUPP", "ESTALE ETIMEDOUT EHOSTDOWN ENOTCONN"
OS_ERRORS = (
    OSErrorRow("EACCES EPERM", "read", NotPermittedError, "no permission to read", "Change its permissions"),
    OSErrorRow("ENOENT", "read", InputMissingError, "no such file", None),
    OSErrorRow("ENOTDIR", "read", InputMissingError, "no such file: a part of its path is not a folder", None),
    OSErrorRow("ENAMETOOLONG", "read", InputMissingError, "no such file: the name is too long", None),
    OSErrorRow("EISDIR", "read", DataError, "a folder and not a file", "Name a file"),
    OSErrorRow("ELOOP", "read", DataError, "a symbolic link that leads back to itself", "Replace or delete it"),
    OSErrorRow("EIO", "read", None, "the disk failed while reading ({reason})", "Check the disk"),
    OSErrorRow(_UNSUPPORTED, "read", None, "not supported by the file system ({reason})", "Copy it to a local disk"),
    OSErrorRow("other", "read", None, "cannot be read ({reason})", None),
    OSErrorRow("EACCES EPERM", "write create", NotPermittedError, "no permission to write", "{elsewhere}"),
    OSErrorRow("EROFS", "write create", None, "the file system is mounted read-only", "{elsewhere}"),
    OSErrorRow("ENOSPC", "write create", StorageError, "the disk is full", "Free space"),
    OSErrorRow("EDQUOT", "write create", StorageError, "your disk quota is used up", "Free space, or raise the quota"),
    OSErrorRow("EFBIG", "write create", None, "larger than the file system or `ulimit -f` allows", "{elsewhere}"),
    OSErrorRow("EIO", "write create", StorageError, "the disk failed while writing ({reason})", "Check the disk"),
    OSErrorRow("ENOTDIR", "write create", CannotCreateError, "a part of its path is a file", "{elsewhere}"),
    OSErrorRow("EISDIR", "write create", CannotCreateError, "a folder of this name exists", "{elsewhere}"),
    OSErrorRow("EEXIST", "write create", CannotCreateError, "already exists", "{elsewhere}"),
    OSErrorRow("ENOENT", "write create", None, "its folder does not exist, or was removed meanwhile", "{elsewhere}"),
    OSErrorRow("ENAMETOOLONG", "write create", None, "the name is too long for the file system", "{elsewhere}"),
    OSErrorRow("ELOOP", "write create", None, "its path has a symbolic link onto itself", "{elsewhere}"),
    OSErrorRow(_UNSUPPORTED, "write create", None, "not supported by the file system ({reason})", "{elsewhere}"),
    OSErrorRow("other", "write", None, "writing failed ({reason})", None),
    OSErrorRow("other", "create", None, "cannot be created ({reason})", "{elsewhere}"),
    OSErrorRow(_NETWORK, "read write create", StorageError, "the network file system failed ({reason})", "Try again"),
    OSErrorRow("EMFILE ENFILE", "read write create", StorageError, "too many open files", "Raise `ulimit -n`"),
)
"""The only mapping from OSError to our errors. `other` stands for every errno that no row names."""

_ROWS = {
    (getattr(errno, name, name), verb): row
    for row in OS_ERRORS
    for name in row.names.split()
    for verb in row.verbs.split()
}


def from_os_error(
    error: OSError, path: Path | None, verb: Verb, *, elsewhere: str = "Choose another --out"
) -> SingleshotError:
    """Return the error that tells a user what an OSError means and what to do about it.

    Args:
        error: from the system; its `errno` decides.
        path: the file or folder to name in the message; None names none.
        verb: what was tried.
        elsewhere: the remedy where another target would do.

    >>> str(from_os_error(OSError(errno.EROFS, "Read-only file system"), Path("a.json"), "write"))
    'a.json: the file system is mounted read-only. Choose another --out.'
    """
    row = _ROWS.get((error.errno, verb)) or _ROWS["other", verb]
    message = row.message.format(reason=error.strerror or str(error) or type(error).__name__)
    remedy = row.remedy.format(elsewhere=elsewhere) if row.remedy else None
    if row.error is DataError:
        return DataError(message, kind="not-a-file", remedy=remedy, file=path)
    kind = row.error or (CannotCreateError if verb == "create" else StorageError)
    return kind(message, remedy=remedy, file=path)


@contextlib.contextmanager
def os_errors(path: Path, verb: Verb, *, elsewhere: str = "Choose another --out") -> Iterator[None]:
    """Turn an OSError raised inside into one of our errors, by the table `OS_ERRORS`; see `from_os_error`.

    So becomes a NUL character in the path, which Python refuses with a ValueError. All other exceptions pass.
    """
    try:
        yield
    except OSError as error:
        raise from_os_error(error, path, verb, elsewhere=elsewhere) from error
    except ValueError as error:
        if "\0" not in str(path):
            raise
        if verb == "read":
            raise InputMissingError("no such file: the name contains a NUL character", file=path) from error
        raise CannotCreateError("the name contains a NUL character", remedy=elsewhere, file=path) from error
