from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from singleshot import errors
from singleshot.errors import (
    DataError,
    Fault,
    FaultyDataError,
    InputMissingError,
    SingleshotError,
    fault_of,
    from_os_error,
    os_errors,
)

# From the table of exit codes that users' scripts rely on: these never change.
CODES = {
    "UsageError": 2,
    "DataError": 65,
    "InputMissingError": 66,
    "UnreachableError": 69,
    "ParityError": 70,
    "CannotCreateError": 73,
    "StorageError": 74,
    "StoppedError": 75,
    "NotPermittedError": 77,
    "ConfigError": 78,
}


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_every_error_has_its_exit_code(name: str, code: int):
    assert getattr(errors, name).exit_code == code
    assert issubclass(getattr(errors, name), SingleshotError)


def test_no_error_is_without_a_code():
    assert {kind.__name__ for kind in SingleshotError.__subclasses__()} == set(CODES)
    assert FaultyDataError.exit_code == 65


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({}, "it broke."),
        ({"remedy": "Mend it"}, "it broke. Mend it."),
        ({"file": "a.xml"}, "a.xml: it broke."),
        ({"file": Path("a.xml"), "line": 7, "remedy": "Mend it"}, "a.xml:7: it broke. Mend it."),
        ({"file": "a.xml", "line": 0}, "a.xml:0: it broke."),
        ({"remedy": "Did you mean this?"}, "it broke. Did you mean this?"),
        ({"remedy": "Mend it."}, "it broke. Mend it."),
    ],
)
def test_the_message_is_one_line_with_position_and_remedy(arguments: dict, line: str):
    assert str(SingleshotError("it broke", **arguments)) == line


def test_a_data_error_becomes_a_fault_with_the_same_words():
    error = DataError("no box", kind="missing-tag", remedy="Draw one", file="a.xml", line=3)
    fault = error.as_fault()
    assert fault == Fault(Path("a.xml"), 3, "missing-tag", "fatal", "no box. Draw one.")
    assert str(fault) == "a.xml:3: no box. Draw one."
    assert DataError("no box", file="a.xml").as_fault().message == "no box."


def test_a_fault_has_one_full_stop_too():
    assert DataError("it is negative.", remedy="Is it?", file="a").as_fault().message == "it is negative. Is it?"


def test_the_nearest_name_is_found_in_any_case_and_nothing_is_near_to_nothing():
    assert errors.nearest("rbc", ["Platelets", "RBC"]) == "RBC"
    assert errors.nearest("VGG30", ["vgg300", "vgg512"]) == "vgg300"
    assert errors.nearest("rbc", []) is None


def test_a_fault_needs_a_file():
    with pytest.raises(ValueError, match="needs a file"):
        DataError("no box").as_fault()


def test_a_fault_survives_json():
    fault = Fault(Path("a.jpg"), None, "truncated", "warning", "cut")
    assert json.loads(json.dumps(fault.as_json())) == {
        "file": "a.jpg",
        "line": None,
        "kind": "truncated",
        "severity": "warning",
        "message": "cut",
    }
    assert str(fault) == "a.jpg: cut"


def faults(count: int) -> list[Fault]:
    return [Fault(Path("train.txt"), place + 1, "missing-picture", "fatal", "no picture") for place in range(count)]


def test_twenty_faults_are_listed_and_the_rest_counted():
    text = str(FaultyDataError(faults(23), remedy="Mend them"))
    assert text.startswith("23 faults in the data:\n  train.txt:1: no picture\n")
    assert text.count("no picture") == 20
    assert "… and 3 more\n" in text
    assert text.endswith("Mend them.")


def test_one_fault_is_one_and_no_more():
    text = str(FaultyDataError(faults(1), remedy="Mend it"))
    assert text == "1 fault in the data:\n  train.txt:1: no picture\nMend it."
    assert "more" not in str(FaultyDataError(faults(20), remedy="Mend them"))


def test_errors_import_the_standard_library_alone():
    code = (
        "import sys, importlib.util as u; s = u.spec_from_file_location('errors', sys.argv[1]);"
        "m = u.module_from_spec(s); sys.modules['errors'] = m; s.loader.exec_module(m);"
        "assert not {'torch', 'numpy', 'cv2', 'numba', 'jaxtyping'} & set(sys.modules)"
    )
    assert errors.__file__ is not None
    subprocess.run([sys.executable, "-I", "-c", code, errors.__file__], check=True)


def test_a_read_error_is_a_fault_of_the_file_it_names_or_of_the_image():
    cut = DataError("cut", kind="truncated-picture", file="mask.png")
    assert fault_of(cut, Path("a.jpg")) == cut.as_fault()
    for error, file in ((InputMissingError("no such file", file="mask.png"), "mask.png"), (DataError("odd"), "a.jpg")):
        fault = fault_of(error, Path("a.jpg"))
        assert (fault.file, fault.kind, fault.severity) == (Path(file), "missing-picture", "fatal")


OUT = "Choose another --out"
READ_ONLY = "the file system is mounted read-only"
FOLDER = "its folder does not exist, or was removed meanwhile"
TOO_LONG = "the name is too long for the file system"
TOO_LARGE = "larger than the file system or `ulimit -f` allows"
LOOP = "its path has a symbolic link onto itself"
UNSUPPORTED = "not supported by the file system"
# errno, verb, exit code, message ((…) stands for the system's own text), remedy
OS_ERROR_TABLE = [
    ("EACCES", "read", 77, "no permission to read", "Change its permissions"),
    ("EPERM", "read", 77, "no permission to read", "Change its permissions"),
    ("ENOENT", "read", 66, "no such file", None),
    ("ENOTDIR", "read", 66, "no such file: a part of its path is not a folder", None),
    ("ENAMETOOLONG", "read", 66, "no such file: the name is too long", None),
    ("EISDIR", "read", 65, "a folder and not a file", "Name a file"),
    ("ELOOP", "read", 65, "a symbolic link that leads back to itself", "Replace or delete it"),
    ("EIO", "read", 74, "the disk failed while reading (…)", "Check the disk"),
    ("ENOLCK", "read", 74, f"{UNSUPPORTED} (…)", "Copy it to a local disk"),
    ("ENOSYS", "read", 74, f"{UNSUPPORTED} (…)", "Copy it to a local disk"),
    ("ENOTSUP", "read", 74, f"{UNSUPPORTED} (…)", "Copy it to a local disk"),
    ("EOPNOTSUPP", "read", 74, f"{UNSUPPORTED} (…)", "Copy it to a local disk"),
    ("EBUSY", "read", 74, "cannot be read (…)", None),
    ("EACCES", "write", 77, "no permission to write", OUT),
    ("EPERM", "write", 77, "no permission to write", OUT),
    ("EROFS", "write", 74, READ_ONLY, OUT),
    ("ENOSPC", "write", 74, "the disk is full", "Free space"),
    ("EDQUOT", "write", 74, "your disk quota is used up", "Free space, or raise the quota"),
    ("EFBIG", "write", 74, TOO_LARGE, OUT),
    ("EIO", "write", 74, "the disk failed while writing (…)", "Check the disk"),
    ("ENOTDIR", "write", 73, "a part of its path is a file", OUT),
    ("EISDIR", "write", 73, "a folder of this name exists", OUT),
    ("EEXIST", "write", 73, "already exists", OUT),
    ("ENOENT", "write", 74, FOLDER, OUT),
    ("ENAMETOOLONG", "write", 74, TOO_LONG, OUT),
    ("ELOOP", "write", 74, LOOP, OUT),
    ("ENOLCK", "write", 74, f"{UNSUPPORTED} (…)", OUT),
    ("ENOSYS", "write", 74, f"{UNSUPPORTED} (…)", OUT),
    ("ENOTSUP", "write", 74, f"{UNSUPPORTED} (…)", OUT),
    ("EOPNOTSUPP", "write", 74, f"{UNSUPPORTED} (…)", OUT),
    ("EBUSY", "write", 74, "writing failed (…)", None),
    ("EACCES", "create", 77, "no permission to write", OUT),
    ("EPERM", "create", 77, "no permission to write", OUT),
    ("EROFS", "create", 73, READ_ONLY, OUT),
    ("ENOSPC", "create", 74, "the disk is full", "Free space"),
    ("EDQUOT", "create", 74, "your disk quota is used up", "Free space, or raise the quota"),
    ("EFBIG", "create", 73, TOO_LARGE, OUT),
    ("EIO", "create", 74, "the disk failed while writing (…)", "Check the disk"),
    ("ENOTDIR", "create", 73, "a part of its path is a file", OUT),
    ("EISDIR", "create", 73, "a folder of this name exists", OUT),
    ("EEXIST", "create", 73, "already exists", OUT),
    ("ENOENT", "create", 73, FOLDER, OUT),
    ("ENAMETOOLONG", "create", 73, TOO_LONG, OUT),
    ("ELOOP", "create", 73, LOOP, OUT),
    ("ENOLCK", "create", 73, f"{UNSUPPORTED} (…)", OUT),
    ("ENOSYS", "create", 73, f"{UNSUPPORTED} (…)", OUT),
    ("ENOTSUP", "create", 73, f"{UNSUPPORTED} (…)", OUT),
    ("EOPNOTSUPP", "create", 73, f"{UNSUPPORTED} (…)", OUT),
    ("EBUSY", "create", 73, "cannot be created (…)", OUT),
    *(
        (name, verb, 74, "the network file system failed (…)", "Try again")
        for name in ("ESTALE", "ETIMEDOUT", "EHOSTDOWN", "ENOTCONN")
        for verb in ("read", "write", "create")
    ),
    *(
        (name, verb, 74, "too many open files", "Raise `ulimit -n`")
        for name in ("EMFILE", "ENFILE")
        for verb in ("read", "write", "create")
    ),
]


@pytest.mark.parametrize(("name", "verb", "code", "message", "remedy"), OS_ERROR_TABLE)
def test_each_errno_has_its_exit_code_message_and_remedy(
    name: str, verb: errors.Verb, code: int, message: str, remedy: str | None
) -> None:
    number = getattr(errno, name)
    raised = OSError(number, os.strerror(number))
    with pytest.raises(SingleshotError) as caught, os_errors(Path("a"), verb):
        raise raised
    assert caught.value.exit_code == code
    assert caught.value.message == message.replace("…", os.strerror(number))
    assert (caught.value.remedy, caught.value.file, caught.value.__cause__) == (remedy, Path("a"), raised)


def test_the_table_above_has_every_row_of_the_mapping() -> None:
    rows = {(name, verb) for row in errors.OS_ERRORS for name in row.names.split() for verb in row.verbs.split()}
    tested = {("other" if name == "EBUSY" else name, verb) for name, verb, *_ in OS_ERROR_TABLE}
    assert rows == tested and len(rows) == len(OS_ERROR_TABLE)


def test_free_space_is_suggested_for_a_full_disk_alone() -> None:
    advised = {row.names for row in errors.OS_ERRORS if row.remedy and "space" in row.remedy}
    assert advised == {"ENOSPC", "EDQUOT"}


def test_the_caller_names_another_target() -> None:
    raised = OSError(errno.EROFS, "Read-only file system")
    error = from_os_error(raised, Path("a"), "write", elsewhere="Set SINGLESHOT_CACHE")
    assert str(error) == "a: the file system is mounted read-only. Set SINGLESHOT_CACHE."


def test_an_os_error_without_a_number_gives_its_text_or_its_name() -> None:
    assert from_os_error(OSError("odd"), None, "read").message == "cannot be read (odd)"
    assert from_os_error(OSError(), None, "write").message == "writing failed (OSError)"


@pytest.mark.parametrize(("verb", "code"), [("read", 66), ("write", 73), ("create", 73)])
def test_a_nul_character_in_a_name_is_an_error_of_ours(verb: errors.Verb, code: int) -> None:
    path = Path("a\0b")
    with pytest.raises(SingleshotError, match="NUL character") as caught, os_errors(path, verb):
        path.stat()
    assert caught.value.exit_code == code


@pytest.mark.parametrize("raised", [ValueError("a bug"), KeyError("x"), DataError("bad"), KeyboardInterrupt()])
def test_other_exceptions_pass_unchanged(raised: BaseException) -> None:
    with pytest.raises(type(raised)) as caught, os_errors(Path("a"), "read"):
        raise raised
    assert caught.value is raised
