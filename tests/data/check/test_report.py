from __future__ import annotations

import json
from pathlib import Path

from singleshot.data.check.report import Audit, in_order
from singleshot.errors import Fault


def _fault(file: str, line: int | None, kind: str = "k", severity: str = "fatal") -> Fault:
    return Fault(Path(file), line, kind, severity, "m.")


def test_the_json_has_exactly_its_fields() -> None:
    report = Audit("voc", 2, 3, ("cat",), (_fault("a.xml", 7), _fault("a.jpg", None)))
    assert json.loads(json.dumps(report.as_json())) == {
        "format": "voc",
        "images": 2,
        "objects": 3,
        "classes": ["cat"],
        "faults": [
            {"file": "a.xml", "line": 7, "kind": "k", "severity": "fatal", "message": "m."},
            {"file": "a.jpg", "line": None, "kind": "k", "severity": "fatal", "message": "m."},
        ],
    }


def test_counts_put_the_fatal_first_then_the_frequent() -> None:
    faults = [_fault("a", 1, "n", "note")] * 3 + [_fault("a", 1, "w", "warning")] + [_fault("a", 1, "f")]
    report = Audit("voc", 0, 0, (), (*faults, _fault("a", 2, "g"), _fault("a", 3, "g")))
    assert report.counts() == [("g", "fatal", 2), ("f", "fatal", 1), ("w", "warning", 1), ("n", "note", 3)]
    assert report.is_fatal and not Audit("voc", 0, 0, (), tuple(faults[:4])).is_fatal
    assert Audit("voc", 0, 0, (), ()).counts() == []


def test_faults_come_by_file_and_line_and_each_once() -> None:
    rows = [_fault("b", 1), _fault("a", 10), _fault("a", 9), _fault("a", None), _fault("a", 9)]
    assert [(str(fault.file), fault.line) for fault in in_order(rows)] == [("a", None), ("a", 9), ("a", 10), ("b", 1)]
    assert in_order([]) == ()


def test_of_closed_files_the_first_speaks_for_all() -> None:
    found = in_order([_fault(name, None, "not-permitted") for name in "cab"] + [_fault("a", 1)])
    assert [(str(fault.file), fault.message) for fault in found] == [("a", "m. Nor may 2 others."), ("a", "m.")]
