"""The one folder for what can be downloaded, drawn or computed again."""

from __future__ import annotations

import os
from pathlib import Path

from singleshot.errors import ConfigError


def cache_folder(*parts: str) -> Path:
    """Return the cache folder, or a folder in it: `$SINGLESHOT_CACHE`, or `singleshot` in the user's own cache.

    The user's own is `$XDG_CACHE_HOME` where that is an absolute path, as its specification asks, else `~/.cache`.

    Raises ConfigError for a user without a home, as in some containers.
    """
    chosen, caches = os.environ.get("SINGLESHOT_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    if chosen:
        return Path(chosen, *parts)
    try:
        base = Path(caches) if Path(caches).is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise ConfigError("this user has no home folder for a cache", remedy="Set SINGLESHOT_CACHE") from error
    return Path(base, "singleshot", *parts)
