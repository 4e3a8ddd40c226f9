from __future__ import annotations

import logging

import pytest

from singleshot.errors import ConfigError
from singleshot.prediction.extras import needs_extra, quiet


def test_a_missing_package_is_named_with_the_extra_that_has_it():
    wanted = r"nobody_has_this is not installed\. pip install 'singleshot\[export\]'"
    with pytest.raises(ConfigError, match=wanted), needs_extra("export"):
        import nobody_has_this  # pyright: ignore[reportMissingImports]  # noqa: F401


def test_loggers_are_quiet_inside_and_as_before_outside():
    logger = logging.getLogger("singleshot.test.quiet")
    logger.setLevel(logging.INFO)
    with pytest.raises(ValueError), quiet("singleshot.test.quiet"):
        assert not logger.isEnabledFor(logging.WARNING)
        raise ValueError
    assert logger.level == logging.INFO
