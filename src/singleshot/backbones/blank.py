"""Networks without memory: what they are made of, before the tensors of a file become their parameters.

On torch's meta device a network costs no memory and no arithmetic, but to draw initial values there it imports its
compiler, which takes longer than a first prediction. Nobody will read them, so they are not drawn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

_INITIAL_VALUES = (Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_)
# These switch the mode off before they call the methods above, so each is caught by itself.
_INITIALISERS = (init.normal_, init.uniform_, init.constant_, init.kaiming_uniform_)


@contextlib.contextmanager
def without_memory() -> Iterator[None]:
    """Build networks in this context on the meta device, without initial values."""
    with torch.device("meta"), _NoInitialValues():
        yield


class _NoInitialValues(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _INITIAL_VALUES and args[0].is_meta:
            return args[0]
        if func in _INITIALISERS and kwargs and kwargs["tensor"].is_meta:
            return kwargs["tensor"]
        return func(*args, **(kwargs or {}))
