from __future__ import annotations

import numpy as np
import pytest
import torch

from singleshot.errors import StoppedError
from singleshot.training.memory import shortage_named


@pytest.mark.parametrize("take", [lambda: torch.empty(1 << 58), lambda: np.empty(1 << 58)])
def test_f15_memory_that_is_not_there_is_75_with_what_to_lower(take: object) -> None:
    with pytest.raises(StoppedError, match=r"out of memory .* Set accumulate=2") as raised, shortage_named():
        take()  # pyright: ignore[reportCallIssue]
    assert raised.value.exit_code == 75


def test_f16_a_devices_memory_is_named_as_such() -> None:
    with pytest.raises(StoppedError, match="out of device memory"), shortage_named():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), shortage_named():
        raise RuntimeError("shapes do not match")
