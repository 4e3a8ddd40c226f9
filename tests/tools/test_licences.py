from __future__ import annotations

from email.message import Message

import pytest

from tools.licences import Verdict, judge, licence_of


def fields(**values: str | list[str]) -> Message:
    message = Message()
    for name, value in values.items():
        for each in [value] if isinstance(value, str) else value:
            message[name.replace("_", "-")] = each
    return message


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        ("MIT", Verdict.PERMISSIVE),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", Verdict.PERMISSIVE),
        ("Apache-2.0 WITH LLVM-exception", Verdict.PERMISSIVE),
        ("MPL-2.0 AND MIT", Verdict.LISTED),
        ("LGPL-2.1-or-later", Verdict.LISTED),
        ("GNU Lesser General Public License v3 (LGPLv3)", Verdict.LISTED),
        ("GNU General Public License v2 (GPLv2)", Verdict.REFUSED),
        ("GPL-3.0-only", Verdict.REFUSED),
        ("AGPL-3.0-or-later", Verdict.REFUSED),
        ("GNU Affero General Public License v3", Verdict.REFUSED),
        ("MIT AND (BSD-3-Clause OR GPL-2.0-only)", Verdict.PERMISSIVE),
        ("(MIT OR Apache-2.0) AND GPL-2.0-only", Verdict.REFUSED),
        ("ISC License (ISCL)", Verdict.PERMISSIVE),
        ("LicenseRef-Something", Verdict.UNKNOWN),
        ("MIT AND", Verdict.UNKNOWN),
        ("(MIT", Verdict.UNKNOWN),
        ("", Verdict.UNKNOWN),
    ],
)
def test_and_takes_the_worst_and_or_the_best(expression: str, verdict: Verdict) -> None:
    assert judge(expression) is verdict


def test_only_gccs_runtime_exception_makes_the_gpl_harmless() -> None:
    assert judge("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1") is Verdict.PERMISSIVE
    assert judge("GPL-3.0-or-later WITH Classpath-exception-2.0") is Verdict.REFUSED


def test_an_expression_outweighs_what_else_is_said() -> None:
    said = fields(
        License_Expression="MIT", Classifier=["License :: OSI Approved :: GNU General Public License v3 (GPLv3)"]
    )
    assert licence_of(said) == ("MIT", Verdict.PERMISSIVE)


def test_the_worst_of_several_classifiers_counts() -> None:
    names = ["MIT License", "GNU General Public License v3 (GPLv3)"]
    said = fields(Classifier=[f"License :: OSI Approved :: {name}" for name in names])
    assert licence_of(said)[1] is Verdict.REFUSED


def test_of_a_whole_licence_text_the_first_line_is_shown() -> None:
    said = fields(License="BSD 3-Clause License\n\nRedistribution with or without the GPL …")
    assert licence_of(said) == ("BSD 3-Clause License", Verdict.PERMISSIVE)


def test_one_that_says_nothing_is_not_let_through() -> None:
    assert licence_of(fields(Name="mystery")) == ("", Verdict.UNKNOWN)
