"""What float32 means on a CUDA device, set in one place and recorded where speeds and weights are.

PyTorch lets cuDNN round the inputs of float32 convolutions to TF32, which keeps 10 of 23 bits. A row that says fp32
would then be another arithmetic than on a CPU, and faster for it. Here float32 is float32; who wants speed asks for
bf16 or fp16. Nothing here has an effect on a CPU, or needs a CUDA device.
"""

from __future__ import annotations

import torch


def use_exact_fp32() -> None:
    """Multiply float32 as float32, in matrix products and in cuDNN, from now on and in the whole process."""
    # By the older names, which set the newer ones too; the other way round, what reads the older ones would fail.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def search_algorithms() -> None:
    """Let cuDNN try its algorithms for each new shape and keep the fastest: for training, whose shapes stay."""
    torch.backends.cudnn.benchmark = True


def arithmetic() -> dict[str, bool]:
    """Return `tf32`, whether float32 is rounded to TF32 anywhere, and `cudnn_benchmark`, as JSON."""
    used = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    return {"tf32": bool(used), "cudnn_benchmark": torch.backends.cudnn.benchmark}
