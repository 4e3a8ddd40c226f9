"""The errors a user can meet, and the exit code that each one ends with.

Every message is one line, `file:line: what. remedy`, so that a person can mend the fault from the line alone
and an editor can jump to it. Anything that is not a `SingleshotError` is our own bug and exits with 70.
The codes follow sysexits.h where it has one.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Severity = Literal["fatal", "warning", "note"]
SHOWN_FAULTS = 20


def visible(text: str) -> str:
    r"""The text as one harmless line: control characters, line ends, direction marks and stray bytes are escaped.

    File and class names come from strangers, and one with an escape sequence or a newline in it could rewrite the
    terminal or fake a message of ours.

    >>> print(visible("a\x1b[2Jb\n.jpg"))
    a\x1b[2Jb\n.jpg
    """
    if text.isascii() and text.isprintable():
        return text
    hidden = ("Cc", "Cs", "Cf", "Zl", "Zp", "Co", "Cn")
    # U+200D joins the parts of one emoji, and can do no harm.
    return "".join(
        each.encode("unicode_escape").decode() if unicodedata.category(each) in hidden and each != "\u200d" else each
        for each in text
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """What a user may have meant by an unknown name: the known one that is most like it, or None. Case is no matter.

    >>> nearest("rbc", ["WBC", "RBC", "Platelets"]), nearest("xyz", ["WBC"])
    ('RBC', None)
    """
    by_case = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), by_case, n=1)
    return by_case[near[0]] if near else None


def sentence(text: str) -> str:
    """The text with a full stop, unless it ends like a sentence already.

    >>> sentence("Mend it"), sentence("Did you mean bccd?")
    ('Mend it.', 'Did you mean bccd?')
    """
    return text if text.endswith((".", "?", "!", "…")) else f"{text}."


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with the user's data.

    Args:
        file: the file at fault.
        line: its 1-based line, or None where the format has no lines (pictures).
        kind: a short, stable name such as `zero-size-box`; counts are made by it.
        severity: `fatal` refuses training, `warning` is worth a look, `note` is for the record.
        message: what is wrong and what to do, in one line.
    """

    file: Path
    line: int | None
    kind: str
    severity: Severity
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line is not None else f"{self.file}"
        return visible(f"{place}: {self.message}")

    def as_json(self) -> dict[str, Any]:
        """The fault as JSON holds it: `file` as text, the rest unchanged."""
        return asdict(self) | {"file": str(self.file)}


class SingleshotError(Exception):
    """A failure with one line to read and one thing to do.

    Args:
        what: what went wrong, without a full stop at its end.
        remedy: what to do about it, as a sentence without a full stop; None where nothing can be done.
        file: the file at fault, if one is.
        line: its 1-based line.
    """

    exit_code = 70

    def __init__(
        self, what: str, *, remedy: str | None = None, file: Path | str | None = None, line: int | None = None
    ) -> None:
        super().__init__(what)
        self.what, self.remedy, self.line = what, remedy, line
        self.file = None if file is None else Path(file)

    def __str__(self) -> str:
        place = ""
        if self.file is not None:
            place = f"{self.file}:{self.line}: " if self.line is not None else f"{self.file}: "
        remedy = f" {sentence(self.remedy)}" if self.remedy else ""
        return visible(f"{place}{sentence(self.what)}{remedy}")


class UsageError(SingleshotError):
    """The call itself is wrong: an unknown option, an output that is also the input."""

    exit_code = 2


class DataError(SingleshotError):
    """A file was read and its content is bad."""

    exit_code = 65

    def __init__(
        self,
        what: str,
        *,
        kind: str = "bad-data",
        remedy: str | None = None,
        file: Path | str | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(what, remedy=remedy, file=file, line=line)
        self.kind = kind

    def as_fault(self) -> Fault:
        """The same failure as a record, for work that goes on past a bad item. `file` must be known."""
        if self.file is None:
            raise ValueError("a fault needs a file")
        message = f"{sentence(self.what)} {sentence(self.remedy)}" if self.remedy else sentence(self.what)
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
        return f"{self.what}{sentence(self.remedy or '')}"


class InputMissingError(SingleshotError):
    """A file or folder that the user named is not there."""

    exit_code = 66


def fault_of(error: DataError | InputMissingError, path: Path) -> Fault:
    """What could not be read, as a fault; `path` is named where the error names no file."""
    if isinstance(error, DataError) and error.file is not None:
        return error.as_fault()
    return Fault(error.file or path, None, "missing-picture", "fatal", error.what)


class UnreachableError(SingleshotError):
    """The network or a service did not answer."""

    exit_code = 69


class ParityError(SingleshotError):
    """An export does not answer as the model it was made from."""

    exit_code = 70


class CannotCreateError(SingleshotError):
    """An output cannot be made, most often because one is already there."""

    exit_code = 73


class StorageError(SingleshotError):
    """Reading or writing failed underneath us: disk full, I/O error."""

    exit_code = 74


class StoppedError(SingleshotError):
    """The work stopped half way and can be resumed."""

    exit_code = 75


class SignalledError(StoppedError):
    """A signal ended the work, which was saved and can be resumed. Exits with 128 + the signal's number."""

    def __init__(self, what: str, *, number: int, remedy: str | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.exit_code = 128 + number


class NotPermittedError(SingleshotError):
    """The file system says no."""

    exit_code = 77


class ConfigError(SingleshotError):
    """A recipe, a field or a setting is wrong."""

    exit_code = 78
