"""HEIC by pi-heif, AVIF by Pillow."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from singleshot import images
from singleshot.data import read
from singleshot.errors import DataError
from tests.data.exports import EXPORTS

# 48×32 pixels: the upper 8 rows white, below them red on the left and blue on the right; as libheif 1.23 writes it.
PLAIN = base64.b64decode(
    "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAX5tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAA"
    "AAAERAAAEAAQAAAAABogABAAAAAAAAALkAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/mlwcnAA"
    "AADeaXBjbwAAAHdodmNDAQQIAAAAnjgAAAAAHvAA/P/4+AAADwNgAAEAF0ABDAH//wQIAAADAJ44AAADAAAeugJAYQABACpCAQEECAAAAwCeOA"
    "AAAwAAHpAEECCy3VyU1zcBDQYEAAADAGQAAAMABCBiAAEACEQBwXMYMAiQAAAAE2NvbHJuY2x4AAEADQAGgAAAABRpc3BlAAAAAAAAAEAAAABA"
    "AAAAKGNsYXAAAAAwAAAAAQAAACAAAAAB////8AAAAAL////gAAAAAgAAABBwaXhpAAAAAAMICAgAAAAYaXBtYQAAAAAAAAABAAEFgQIDBYQAAA"
    "DBbWRhdAAAALUoAa8GOPF0LTr1/BVsxy/rR3//88D2XxTaIOK3GHm3ynlNMEUyzjpmkVlnAM2Cdjv1sY5PGB0Y1neuL9aZ9XYtL9JL//yvk4e1"
    "5zBRvgiuxPefwMaAAH7MTKTyFPs+O2t6DXmbW7lvOqocUx441XedLSrbvS7d0Fuip7arnqg0EnS3put6aeNkCaUrorzbOlt8OniaWOZABIm7C0"
    "coldQC2t30pPIG9+0ZiuIZxc2qu/9D96Y4"
)
# The same with an EXIF orientation of 6, which the writer turned into a rotation of the container.
TURNED = base64.b64decode(
    "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAcltZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9jAA"
    "AAAERAAAIAAQAAAAAB7QABAAAAAAAAALkAAgAAAAACpgABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVp"
    "bmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABCGlwcnAAAADnaXBjbwAAAHdodmNDAQQIAAAAnjgAAAAAHvAA/P/4+AAADwNgAAEAF0"
    "ABDAH//wQIAAADAJ44AAADAAAeugJAYQABACpCAQEECAAAAwCeOAAAAwAAHpAEECCy3VyU1zcBDQYEAAADAGQAAAMABCBiAAEACEQBwXMYMAiQ"
    "AAAAE2NvbHJuY2x4AAEADQAGgAAAABRpc3BlAAAAAAAAAEAAAABAAAAAKGNsYXAAAAAwAAAAAQAAACAAAAAB////8AAAAAL////gAAAAAgAAAB"
    "BwaXhpAAAAAAMICAgAAAAJaXJvdAMAAAAZaXBtYQAAAAAAAAABAAEGgQIDBYSGAAAAGmlyZWYAAAAAAAAADmNkc2MAAgABAAEAAADlbWRhdAAA"
    "ALUoAa8GOPF0LTr1/BVsxy/rR3//88D2XxTaIOK3GHm3ynlNMEUyzjpmkVlnAM2Cdjv1sY5PGB0Y1neuL9aZ9XYtL9JL//yvk4e15zBRvgiuxP"
    "efwMaAAH7MTKTyFPs+O2t6DXmbW7lvOqocUx441XedLSrbvS7d0Fuip7arnqg0EnS3put6aeNkCaUrorzbOlt8OniaWOZABIm7C0coldQC2t30"
    "pPIG9+0ZiuIZxc2qu/9D96Y4AAAABkV4aWYAAE1NACoAAAAIAAEBEgADAAAAAQAGAAAAAAAA"
)
WHITE, RED, BLUE = (240, 240, 240), (200, 30, 30), (30, 30, 200)


@pytest.mark.parametrize("data", [PLAIN, TURNED], ids=["plain", "turned"])
def test_heic_is_read_upright_with_the_extra(data: bytes, tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="needs the extra heic")
    (tmp_path / "a.heic").write_bytes(data)
    found = images.read_image(tmp_path / "a.heic")
    upright = np.rot90(found) if data is TURNED else found  # back, to compare
    assert found.shape == ((48, 32, 3) if data is TURNED else (32, 48, 3))
    assert images.read_size_hw(tmp_path / "a.heic") == found.shape[:2]
    for (y, x), colour in {(2, 2): WHITE, (20, 4): RED, (20, 40): BLUE}.items():
        np.testing.assert_allclose(upright[y, x], colour, atol=6)
    with pytest.raises(DataError) as raised:
        images.decode_image(data[: len(data) // 2], file="a.heic")
    assert raised.value.kind == "unsupported-picture"
    assert ".heic" in images.IMAGE_SUFFIXES and images.read_header(data, file="a").format == "HEIC"


def test_heic_without_the_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_HAS_HEIC", False)
    with pytest.raises(DataError, match=r"HEIC.*pip install 'singleshot\[heic\]'") as raised:
        images.decode_image(PLAIN, file="a.heic")
    assert raised.value.kind == "unsupported-picture"


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read_by_pillow_and_is_data_like_any_other(tmp_path: Path) -> None:
    rgb = np.full((40, 60, 3), RED, np.uint8)
    rgb[:, 30:] = BLUE
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "AVIF", quality=95, subsampling="4:4:4")
    found = images.decode_image(stream.getvalue(), file="a.avif")
    np.testing.assert_allclose(found[::10, ::20], rgb[::10, ::20], atol=6)
    assert images.read_header(stream.getvalue(), file="a").format == "AVIF"
    EXPORTS["labelImg"][1](tmp_path)
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "a.avif").write_bytes(stream.getvalue())
    dataset = read.read(tmp_path, "all")
    assert [sample.image_path.name for sample in dataset.samples] == ["a.avif", "b.jpg", "c.jpg"]
    with pytest.raises(DataError) as raised:
        images.decode_image(stream.getvalue()[:200], file="a.avif")
    assert raised.value.kind == "unsupported-picture"
