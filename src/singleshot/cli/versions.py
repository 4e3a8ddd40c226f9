"""Which packages are here, and whether they are new enough: asked before a verb runs, and by `singleshot doctor`.

An old torch fails somewhere in the middle of a run, with a message about an attribute. What the package itself says it
needs is read from its metadata, so that no number stands twice.
"""

from __future__ import annotations

import re
from importlib import metadata

from singleshot.errors import ConfigError

ALWAYS = ("torch", "numpy", "numba")
"""Without these no verb works. The rest of the core may be missing in minimal images, where OpenCV stands in."""
LOOKED_AT = (*ALWAYS, "opencv-python-headless", "lightning-fabric", "safetensors")
_NEED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)[^;]*?>=(?P<least>[0-9.]+)[^;]*(?:;.*extra == ['\"](?P<extra>[\w-]+))?")


def check() -> None:
    """Raise ConfigError where a package that every verb needs is missing, or one of the core is older than needed."""
    for name, least in needs(None).items():
        if name not in LOOKED_AT:
            continue
        here = version(name)
        if here is None and name in ALWAYS:
            raise ConfigError(f"{name} is not installed", remedy=f"pip install '{name}>={least}'")
        if here is not None and parts(here) < parts(least):
            raise ConfigError(f"{name} {here} is too old", remedy=f"pip install '{name}>={least}'")


def needs(extra: str | None) -> dict[str, str]:
    """The packages of the core (None) or of an extra, each with the least version. None where nothing is known."""
    try:
        lines = metadata.requires("singleshot") or []
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return {}
    found = [match for line in lines if (match := _NEED.match(line))]
    return {match["name"]: match["least"] for match in found if match["extra"] == extra}


def version(name: str) -> str | None:
    """The version of an installed package; None where it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def parts(text: str) -> tuple[int, ...]:
    """The numbers of a version, for comparison; what comes after them does not count.

    >>> parts("2.13.0+cpu") >= parts("2.11"), parts("2.9") < parts("2.11")
    (True, True)
    """
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(number) for number in found[0].split(".")) if found else ()
