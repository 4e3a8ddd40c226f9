"""The limit of pixels and links, in every command that reads data."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from singleshot import images
from singleshot.cli.main import app
from singleshot.data import cache, folders, read
from singleshot.errors import UsageError
from tests.data.exports import EXPORTS, MASK_EXPORTS

QUICK = (
    "--model",
    "lite320-fine",
    "--set",
    "input_size_hw=[64,96]",
    "--steps",
    "1",
    "--batch-size",
    "1",
    "--workers",
    "0",
)


@pytest.fixture(autouse=True)
def _settings_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command sets holds for its process: here it ends with the test."""
    for name in (images.MAX_PIXELS_VARIABLE, folders.LINKS_VARIABLE):
        monkeypatch.setenv(name, "")


def run(*arguments: str | Path, fails: bool = False) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert (result.exit_code != 0) == fails, result.output
    said = f"{result.output} {result.exception or ''}" if fails else result.output
    return " ".join(said.split())


def test_one_limit_of_pixels_holds_for_every_command(tmp_path: Path, untrained: Path) -> None:
    data = tmp_path / "data"
    EXPORTS["VIA"][1](data)
    small = ("--max-pixels", "2399")  # images have 2400
    assert "too-large-picture" in run("data", "check", data, "--workers", "1", *small, fails=True)
    commands: Sequence[Sequence[str | Path]] = (
        ("data", "stats", data),
        ("data", "show", data, "--out", tmp_path / "a.png"),
        ("data", "split", data, "--out", tmp_path / "split.json"),
        ("data", "anchors", data),
        ("data", "convert", data, tmp_path / "out", "--to", "coco"),
        ("train", "--data", data, *QUICK, "--out", tmp_path / "run"),
        ("predict", untrained, data / "a.jpg", "--json", tmp_path / "p.json"),
    )
    for command in commands:
        said = run(*command, *small, fails=command[1] != "stats")
        assert any(each in said for each in ("pixels are more than the", "0 images", "no image", "no boxes")), said
    run("data", "check", data, "--workers", "1", "--max-pixels", "2400")
    for command in commands:
        run(*command, "--max-pixels", "2400", *(("--overwrite",) if command[0] == "predict" else ()))
    said = run("evaluate", tmp_path / "run" / "best.safetensors", "--data", data, "--split", "all", *small, fails=True)
    assert "60×40 pixels are more than the 0.002399 million that are read" in said


def test_the_limit_can_be_raised_and_holds_for_masks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 2399)
    MASK_EXPORTS["mmsegmentation"][1](tmp_path)
    assert len(read.read(tmp_path, "train", with_masks=True, cache=False)) == 0
    images.allow_pixels(2400)
    dataset = read.read(tmp_path, "train", with_masks=True, cache=False)
    assert len(dataset) == 3 and images.pixel_limit() == 2400
    with pytest.raises(UsageError):
        images.allow_pixels(0)
    monkeypatch.setenv(images.MAX_PIXELS_VARIABLE, "many")
    with pytest.raises(UsageError, match="SINGLESHOT_MAX_PIXELS is 'many'"):
        images.pixel_limit()


def test_a_cached_data_set_is_read_again_under_another_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    EXPORTS["VIA"][1](tmp_path)
    monkeypatch.setattr(cache, "SETTLED_NS", -1)
    found = []
    for limit in (2399, 2400, 2399):
        images.allow_pixels(limit)
        found.append(len(read.read(tmp_path, "all")))
    assert found == [0, 3, 0]


@pytest.mark.parametrize("tool", ["Pascal VOC", "labelImg", "COCO", "labelImg YOLO", "VIA"])
def test_links_that_lead_out_are_faults_unless_they_are_followed(tool: str, tmp_path: Path) -> None:
    store, data = tmp_path / "store", tmp_path / "data"
    EXPORTS[tool][1](data)
    store.mkdir()
    (path,) = data.rglob("a.jpg")
    path.rename(store / path.name)
    path.symlink_to(store / path.name)
    said = run("data", "check", data, "--workers", "0", fails=True)
    assert "outside-link" in said and "--follow-links" in said
    train = ("train", "--data", data, *QUICK, "--val-split", "none", "--batch-size", "1")
    train += ("--train-split", read.splits(data)[0])
    assert "a symbolic link that leads out of the data" in run(*train, "--out", tmp_path / "a", fails=True)
    said = run("data", "check", data, "--workers", "0", "--follow-links")
    assert "3 images, 3 objects" in said and "link" not in said
    assert "weights: " in run(*train, "--out", tmp_path / "b", "--follow-links")


def test_a_folder_of_links_alone_names_the_option(tmp_path: Path) -> None:
    EXPORTS["labelImg"][1](tmp_path / "store")
    (tmp_path / "data").mkdir()
    for path in (tmp_path / "store").iterdir():
        (tmp_path / "data" / path.name).symlink_to(path)
    assert "there are only links below it" in (said := run("data", "stats", tmp_path / "data", fails=True))
    assert "--follow-links" in said
    assert "3 images" in run("data", "stats", tmp_path / "data", "--follow-links")


def test_a_linked_folder_is_entered_and_a_loop_ends(tmp_path: Path) -> None:
    store, data = tmp_path / "store", tmp_path / "data"
    EXPORTS["labelImg"][1](store / "train")
    data.mkdir()
    (data / "linked").symlink_to(store)
    (store / "train" / "again").symlink_to(store)
    (store / "train" / "back").symlink_to(data)
    folders.follow_links()
    dataset = read.read(data, "train", cache=False)
    assert len(dataset) == 3
    assert [fault.kind for fault in dataset.faults] == ["linked-folder", "linked-folder"]
    assert read.recognise(data) == "voc_xml"


@pytest.mark.parametrize("tool", ["Pascal VOC", "labelme", "KITTI", "CVAT for images 1.1", "Label Studio YOLO", "VIA"])
def test_a_link_to_the_data_folder_itself_is_named_and_not_entered_in_any_layout(tool: str, tmp_path: Path) -> None:
    EXPORTS[tool][1](tmp_path / "data")
    image = next(path for path in (tmp_path / "data").rglob("*") if path.suffix in (".jpg", ".png"))
    (image.parent / "again").symlink_to(tmp_path / "data")
    folders.follow_links()
    assert read.recognise(tmp_path / "data") == EXPORTS[tool][0]
    pool = read.read_pool(tmp_path / "data", cache=False)
    assert len(pool) == 3 and {fault.kind for fault in pool.faults if fault.severity != "note"} == {"linked-folder"}


SCRIPT = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "singleshot", *sys.argv[1:]], capture_output=True, text=True)
sys.stderr.write(done.stdout + done.stderr)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_image_of_60_megapixels_is_predicted_in_tiles_in_bounded_memory(untrained: Path, tmp_path: Path) -> None:
    height, width = 6324, 9487  # 59.99 million pixels: 180 MB
    image = np.zeros((height, width, 3), np.uint8)
    image[1000:5000, 1000:8000] = (200, 30, 90)
    Image.fromarray(image).save(tmp_path / "large.jpg", quality=80)
    Image.fromarray(image[:400, :600]).save(tmp_path / "small.jpg")
    peaks = {}
    for name in ("small", "large"):
        command = ["predict", str(untrained), str(tmp_path / f"{name}.jpg"), "--json", str(tmp_path / f"{name}.json")]
        command += ["--tiles", "--tile-size", "1024", "--max-pixels", str(height * width)]
        done = subprocess.run([sys.executable, "-c", SCRIPT, *command], capture_output=True, text=True, check=True)
        code, peak = map(int, done.stdout.split())
        assert code == 0, done.stderr
        peaks[name] = peak * 1024
    assert (tmp_path / "large.json").is_file()
    image_bytes = 3 * height * width
    # The pixels, and those of the file's own or of one step on the way; not a copy of every tile.
    assert peaks["large"] - peaks["small"] < 2.5 * image_bytes, (peaks, image_bytes)
