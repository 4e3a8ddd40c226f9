"""Which distributions the project needs: the closure of its requirements over what is installed.

Read from the environment's own metadata, because only that knows what pip chose on this machine. The pins and the
licence check stand on it.
"""

from __future__ import annotations

import re
from importlib import metadata

from packaging.requirements import Requirement

PROJECT = "singleshot"


def normalised(name: str) -> str:
    """The one spelling of a distribution's name, by the packaging specification.

    >>> normalised("Typing_Extensions")
    'typing-extensions'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(extras: frozenset[str] = frozenset(), root: str = PROJECT) -> dict[str, metadata.Distribution]:
    """Every installed distribution that `root[extras]` leads to, by normalised name, itself left out.

    A requirement whose marker is false here (another platform, another Python) leads nowhere. One that is required
    and not installed raises `metadata.PackageNotFoundError`: the environment is not what pip would make.
    """
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(root, extras)]
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        found[name] = metadata.distribution(name)
        for line in found[name].requires or ():
            requirement = Requirement(line)
            if _applies(requirement, wanted):
                waiting.append((normalised(requirement.name), frozenset(requirement.extras)))
    del found[root]
    return dict(sorted(found.items()))


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in extras | {""})
