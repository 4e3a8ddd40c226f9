from __future__ import annotations

import pytest

from tools import licences
from tools.closure import closure


@pytest.mark.parametrize(
    "licence",
    [
        "MIT",
        "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0",
        "BSD-2-Clause AND Apache-2.0 WITH LLVM-exception",
        "ISC License (ISCL)",
        "MPL-2.0 AND MIT",
        "LGPL-2.1-or-later",
    ],
)
def test_a_permissive_licence_and_a_listed_one_are_accepted(licence: str) -> None:
    assert licences.unaccepted({"a": licence}) == []


@pytest.mark.parametrize(
    "licence",
    [
        "GNU General Public License v2 (GPLv2)",
        "GPL-3.0-only",
        "AGPL-3.0-or-later",
        "GNU Affero General Public License v3",
        "(MIT OR Apache-2.0) AND GPL-2.0-only",
        "BSD-3-Clause AND GPL-3.0-only",
        "GPL-3.0-or-later WITH Classpath-exception-2.0",
        "MIT License; GNU General Public License v3 (GPLv3)",
        "LicenseRef-Something",
        "MIT AND",
        "UNKNOWN",
        "",
    ],
)
def test_a_licence_that_no_one_has_accepted_as_written_is_refused(licence: str) -> None:
    assert licences.unaccepted({"a": licence, "b": "MIT"}) == ["a"]


def test_only_weaker_copyleft_is_listed() -> None:
    assert all(licence.startswith(("MPL", "Mozilla", "LGPL")) for licence in licences.LISTED)
    assert not any("GPL" in licence or "Mozilla" in licence or "MPL" in licence for licence in licences.PERMISSIVE)


def test_every_distribution_of_the_core_is_asked_and_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(licences.read_licences()) == set(closure())
    assert licences.main() == 0 and "no GPL" in capsys.readouterr().out


def test_a_distribution_that_is_not_accepted_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(licences, "read_licences", lambda: dict.fromkeys(closure(), "MIT") | {"numpy": "GPL-3.0-only"})
    assert licences.main() == 1 and "not accepted: numpy" in capsys.readouterr().out
    monkeypatch.setattr(licences, "read_licences", lambda: {})
    assert licences.main() == 1
