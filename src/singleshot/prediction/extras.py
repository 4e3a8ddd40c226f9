"""Packages that only some users need, and the one sentence that is said where one is missing."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from singleshot.errors import ConfigError


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Around imports of an extra's packages. Raises ConfigError, which names the extra, where one is missing."""
    try:
        yield
    except ImportError as error:
        what = f"{error.name or 'a package'} is not installed"
        raise ConfigError(what, remedy=f"pip install 'singleshot[{extra}]'") from error


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Around libraries that warn of things which a user can do nothing about: their errors alone are heard."""
    found = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    for logger in found:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(found, levels, strict=True):
            logger.setLevel(level)
