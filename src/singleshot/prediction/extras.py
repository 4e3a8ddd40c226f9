"""Optional packages (extras): the error where one is missing, and their warnings."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from singleshot.errors import ConfigError


@contextlib.contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn an ImportError of an extra's packages into a ConfigError that names the extra."""
    try:
        yield
    except ImportError as error:
        what = f"{error.name or 'a package'} is not installed"
        raise ConfigError(what, remedy=f"pip install 'singleshot[{extra}]'") from error


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Suppress warnings of libraries that a user cannot act upon; errors are still logged."""
    found = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    for logger in found:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(found, levels, strict=True):
            logger.setLevel(level)
