from __future__ import annotations

import functools

import numba
import numpy as np
import pytest

from singleshot.compiled import compiled


def total(values):
    result = 0.0
    for value in values:
        result += value
    return result


def test_a_kernel_gives_what_its_python_gives_also_for_nothing():
    kernel = compiled(total)
    for values in (np.array([1.5, 2.5]), np.empty(0)):
        assert kernel(values) == total(values)


def test_a_wrapper_that_numba_cannot_compile_is_taken_off():
    @functools.wraps(total)
    def checked(*arguments, **options):
        raise AssertionError("the wrapper ran")

    assert compiled(checked)(np.array([1.5, 2.5])) == 4.0


def test_code_that_numba_cannot_type_is_refused_at_the_first_call():
    def nonsense(values):
        return values.no_such_attribute

    kernel = compiled(nonsense)
    with pytest.raises(numba.core.errors.TypingError):
        kernel(np.empty(1))
