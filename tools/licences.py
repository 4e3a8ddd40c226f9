"""The licences of all that comes with `pip install singleshot`, and a refusal of those that its users may not ship.

The core's promise is that a product may be built on it. So each distribution in the closure of the core's
requirements states its licence here, as its metadata does: GPL and AGPL are refused, weaker copyleft (LGPL, MPL)
is shown for README's list, and one that says nothing we understand fails too, until somebody has read it.
Extras and the tools of `dev` are the user's and the developer's own choice and are not asked.
"""

from __future__ import annotations

import re
import sys
from email.message import Message
from enum import IntEnum
from typing import cast

from tools.closure import closure


class Verdict(IntEnum):
    """From the best to the worst: what is joined by AND is as bad as its worst part, by OR as good as its best."""

    PERMISSIVE = 0
    LISTED = 1
    UNKNOWN = 2
    REFUSED = 3


# Tried in this order: "LGPL" holds "GPL", and "GNU Lesser General Public License" most of the other's name.
FAMILIES = (
    (Verdict.LISTED, r"\bLGPL|\bLesser General Public|\bMPL\b|\bMozilla Public|\bEPL\b|\bEclipse Public|Proprietary"),
    (Verdict.REFUSED, r"\bA?GPL|\bGNU\b|Affero|General Public License|\bSSPL\b|\bBUSL\b|NonCommercial|\bNC\b"),
    (
        Verdict.PERMISSIVE,
        r"\bMIT\b|\bBSD\b|\b0BSD\b|\bApache\b|\bISC\b|\bPSF\b|Python Software Foundation|\bPython-2|\bZlib\b|\bCC0\b"
        r"|\bBSL-1|\bHPND\b|\bUnlicense\b|Public Domain",
    ),
)

# GCC's runtime libraries (libgfortran and its kin, inside the wheels of numpy and others) are GPL with an exception
# that exists so that programs of any licence may be linked with them and shipped.
HARMLESS_EXCEPTIONS = ("GCC-exception-2.0", "GCC-exception-3.1")

# Metadata speaks of the distribution's own code. What wheels carry besides, read in their licence files.
CARRIED = {
    "numpy": "carries libgfortran (GPL-3.0 with GCC's runtime exception) and libquadmath (LGPL-2.1)",
    "opencv-python-headless": "carries FFmpeg (LGPL-2.1), libgfortran and libquadmath",
}


def judge(expression: str) -> Verdict:
    """The verdict on a licence as written: an SPDX expression, a name, or the tail of a trove classifier.

    >>> judge("MIT OR GPL-3.0-only"), judge("BSD-3-Clause AND GPL-3.0-only")
    (<Verdict.PERMISSIVE: 0>, <Verdict.REFUSED: 3>)
    """
    tokens = re.findall(r"[()]|[^()\s]+", expression)
    verdict, rest = _alternatives(tokens)
    return verdict if not rest else Verdict.UNKNOWN


def licence_of(fields: Message) -> tuple[str, Verdict]:
    """What a distribution says of its licence, and the verdict on it.

    `License-Expression` is exact and stands alone. Without it the classifiers and a one-line `License` are all
    statements and the worst that is understood counts; a longer `License` is the licence's text, of which only the
    first line is shown and judged, and only where there is nothing better.
    """
    if expression := fields.get("License-Expression"):
        return expression, judge(expression)
    classifiers = fields.get_all("Classifier") or []
    statements = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: ")]
    lines = [line.strip() for line in (fields.get("License") or "").splitlines() if line.strip(" \t=")]
    if lines and (len(lines) == 1 or not statements):
        statements.append(lines[0][:60])
    verdicts = [judge(each) for each in statements]
    understood = [verdict for verdict in verdicts if verdict is not Verdict.UNKNOWN]
    return "; ".join(dict.fromkeys(statements)), max(understood, default=Verdict.UNKNOWN)


def _alternatives(tokens: list[str]) -> tuple[Verdict, list[str]]:
    best, rest = _joined(tokens)
    while rest and rest[0].upper() == "OR":
        other, rest = _joined(rest[1:])
        best = min(best, other)
    return best, rest


def _joined(tokens: list[str]) -> tuple[Verdict, list[str]]:
    worst, rest = _one(tokens)
    while rest and rest[0].upper() == "AND":
        other, rest = _one(rest[1:])
        worst = max(worst, other)
    return worst, rest


def _one(tokens: list[str]) -> tuple[Verdict, list[str]]:
    if tokens and tokens[0] == "(":
        verdict, rest = _alternatives(tokens[1:])
        return (verdict, rest[1:]) if rest and rest[0] == ")" else (Verdict.UNKNOWN, rest)
    words = []
    while tokens and tokens[0].upper() not in ("AND", "OR", ")"):
        word, *tokens = tokens
        if word == "(":  # a name such as "ISC License (ISCL)", not a group
            while tokens and word != ")":
                word, *tokens = tokens
            continue
        words.append(word)
    return _family(" ".join(words)), tokens


def _family(name: str) -> Verdict:
    if name.endswith(tuple(f" WITH {exception}" for exception in HARMLESS_EXCEPTIONS)):
        return Verdict.PERMISSIVE
    return next((verdict for verdict, words in FAMILIES if re.search(words, name, re.IGNORECASE)), Verdict.UNKNOWN)


def main() -> int:
    """Print the table; 1 where a licence is refused or not understood."""
    wrong = 0
    for name, distribution in closure().items():
        # importlib's PackageMetadata is an email.message.Message whose protocol leaves `get` out on some Pythons.
        text, verdict = licence_of(cast(Message, distribution.metadata))
        wrong += verdict >= Verdict.UNKNOWN
        note = f"   ({CARRIED[name]})" if name in CARRIED else ""
        print(f"{verdict.name.lower():10}  {name:24} {text or 'says nothing'}{note}")
    print(f"{wrong} refused or not understood" if wrong else "no GPL, no AGPL, none unknown")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
