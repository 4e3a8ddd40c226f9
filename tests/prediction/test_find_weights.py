from __future__ import annotations

from pathlib import Path

import pytest

from singleshot import hub
from singleshot.errors import InputMissingError, UnreachableError
from singleshot.foreign import importing
from singleshot.prediction.load import find_weights


def test_a_file_that_is_there_comes_before_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("ssd300-coco").write_bytes(b"mine")
    assert find_weights("ssd300-coco") == Path("ssd300-coco")


def test_a_folder_in_the_hubs_layout_is_its_weights(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert find_weights(tmp_path) == tmp_path / "model.safetensors"


@pytest.mark.parametrize("name", ["best.safetensors", "train/best.safetensors"])
def test_a_folder_without_weights_of_the_hubs_name_is_66_and_those_of_a_run_are_named(name: str, tmp_path: Path):
    folder = tmp_path / "runs"
    folder.mkdir()
    with pytest.raises(InputMissingError, match=r"without model\.safetensors\. Name the file itself") as caught:
        find_weights(folder)
    assert caught.value.exit_code == 66 and caught.value.file == folder
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    with pytest.raises(InputMissingError, match=f"Did you mean {folder / name}\\?"):
        find_weights(str(folder))


def test_names_and_hub_ids_are_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(importing, "cached", lambda name, **_options: tmp_path / name)
    monkeypatch.setattr(hub, "fetch", lambda name: tmp_path / name.replace("/", "+"))
    assert find_weights("ssd300_vgg16") == tmp_path / "ssd300_vgg16"
    assert find_weights("somebody/cells") == tmp_path / "somebody+cells"


def test_anything_else_is_66_with_a_suggestion():
    with pytest.raises(InputMissingError, match="Did you mean lite320-coco"):
        find_weights("lite300-coco")
    for text in ("runs/a/best.safetensors", "/nowhere/else", ""):
        with pytest.raises(InputMissingError) as caught:
            find_weights(text if text else "no-such-thing.safetensors")
        assert caught.value.exit_code == 66


def test_a_known_name_without_network_is_69(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SINGLESHOT_CACHE", str(tmp_path))

    def refused(*_arguments: object, **_options: object) -> None:
        raise UnreachableError("no network")

    monkeypatch.setattr("singleshot.storage.download.fetch", refused)
    with pytest.raises(UnreachableError):
        find_weights("ssd300-coco")
