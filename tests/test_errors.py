from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from singleshot import errors
from singleshot.errors import DataError, Fault, FaultyDataError, InputMissingError, SingleshotError, fault_of

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
def test_the_message_is_one_line_with_place_and_remedy(arguments: dict, line: str):
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


def test_what_could_not_be_read_is_a_fault_of_the_file_that_it_names_or_of_the_picture():
    cut = DataError("cut", kind="truncated-picture", file="mask.png")
    assert fault_of(cut, Path("a.jpg")) == cut.as_fault()
    for error, file in ((InputMissingError("no such file", file="mask.png"), "mask.png"), (DataError("odd"), "a.jpg")):
        fault = fault_of(error, Path("a.jpg"))
        assert (fault.file, fault.kind, fault.severity) == (Path(file), "missing-picture", "fatal")
