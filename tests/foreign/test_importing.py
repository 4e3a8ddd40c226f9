from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from singleshot import classes, weights
from singleshot.errors import DataError, InputMissingError, NotPermittedError, UsageError
from singleshot.foreign.importing import cached, import_weights, read_class_names
from singleshot.foreign.sources import SOURCES, get
from singleshot.prediction.load import load
from singleshot.prediction.predictor import Detector
from singleshot.storage import download
from singleshot.weights import BackboneFile
from tests.foreign.made_files import SSD_PYTORCH, port_state, torchvision_state, vgg_list

LITE = "torchvision_ssdlite320_mobilenet_v3_large"


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def coco(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("coco") / "lite.pth", torchvision_state(shared, LITE, slots=91))


def test_cocos_ninety_one_logits_are_kept_and_users_see_eighty_classes(coco: Path, tmp_path: Path):
    imported = import_weights("ssdlite320_mobilenet_v3_large", out=tmp_path / "w.safetensors", file=coco)
    file = weights.load(imported.path)
    config = file.network.config
    assert config.class_names == tuple(classes.COCO) and config.columns == 91
    assert file.sha256 == imported.sha256 and any("not the published file" in note for note in imported.notes)
    images = torch.rand(1, 3, 320, 320)
    with torch.inference_mode():
        raw = file.network(images)
    assert raw.class_logits.shape[-1] == 91
    # What the same network says of the same picture where every slot has a name: the same boxes and scores.
    slots = [name or f"slot {place}" for place, name in enumerate(everything())]
    named = import_weights("lite320-coco", out=tmp_path / "n.safetensors", file=coco, class_names=slots)
    for other in (file, weights.load(named.path)):  # what holds for the published file is not said of another one
        assert other.provenance["published_file"] is False
        for fact in ("licence", "training_data", "publisher"):
            assert other.provenance[fact] == "unknown: not the published file of lite320-coco"
    both = [Detector(weights.load(path).network) for path in (imported.path, named.path)]
    both = [detector.with_postprocess(max_detections=30_000, score_threshold=0.02) for detector in both]
    ours, full = (detector.postprocess(raw, [(320, 320)])[0] for detector in both)
    assert len(ours) > 100 and set(ours.class_names) <= set(classes.COCO)
    assert any(name.startswith("slot") for name in full.class_names)
    kept = [place for place, name in enumerate(full.class_names) if not name.startswith("slot")]
    full_rows = sorted((full.class_names[place], float(full.scores[place])) for place in kept)
    rows = sorted(zip(ours.class_names, map(float, ours.scores), strict=True))
    assert [name for name, _ in rows] == [name for name, _ in full_rows]
    assert [score for _, score in rows] == pytest.approx([score for _, score in full_rows], rel=1e-4)
    assert all(classes.COCO[id] == name for id, name in zip(ours.class_ids, ours.class_names, strict=True))


def everything() -> tuple[str | None, ...]:
    from singleshot.foreign.sources import get

    return get("lite320-coco").class_names


def test_class_names_of_ones_own_leave_no_slot_out_and_must_be_one_less_than_the_slots(shared: Path, tmp_path: Path):
    file = saved(tmp_path / "own.pth", torchvision_state(shared, LITE))
    with pytest.raises(UsageError, match="--class-names"):
        import_weights("lite320-coco", out=tmp_path / "w", file=file)
    with pytest.raises(DataError, match="Give 20 names"):
        import_weights("lite320-coco", out=tmp_path / "w", file=file, class_names=classes.VOC[:-1])
    import_weights("lite320-coco", out=tmp_path / "w", file=file, class_names=classes.VOC)
    config = weights.load(tmp_path / "w").network.config
    assert config.class_names == tuple(classes.VOC) and config.unnamed_slots == ()


def test_a_backbone_has_its_channel_order_mean_and_provenance(tmp_path: Path):
    file = saved(tmp_path / "vgg16_reducedfc.pth", vgg_list(""))
    imported = import_weights("vgg16-reducedfc", out=tmp_path / "t.safetensors", file=file)
    trunk = weights.read(imported.path)
    assert isinstance(trunk, BackboneFile) and len(trunk.tensors) == 30
    assert trunk.config.preprocess.mean_rgb == (123.0, 117.0, 104.0)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert trunk.provenance["file_sha256"] == digest and "ImageNet" in trunk.provenance["training_data"]
    assert f"this file's SHA-256 is {digest}" in " ".join(imported.notes)
    with pytest.raises(DataError, match="a vgg16 backbone, not a detector"):
        load(imported.path)
    with pytest.raises(UsageError, match="has no classes"):
        import_weights("vgg16-reducedfc", out=tmp_path / "x", file=file, class_names=["a"])


def test_e2_a_file_whose_name_states_its_hash_is_checked_by_it(coco: Path, tmp_path: Path):
    published = tmp_path / get("lite320-coco").file_name
    published.write_bytes(coco.read_bytes())  # not what has that name
    with pytest.raises(DataError, match="SHA-256 mismatch"):
        import_weights("lite320-coco", out=tmp_path / "w", file=published)


def test_eight_digits_in_another_name_are_a_date_and_no_hash(coco: Path, tmp_path: Path):
    mine = tmp_path / "cells-20240115.pth"
    mine.write_bytes(coco.read_bytes())
    import_weights("lite320-coco", out=tmp_path / "w", file=mine)


def test_a_file_that_may_not_be_read_is_77(coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "open", lambda *_args, **_options: (_ for _ in ()).throw(PermissionError(13, "denied")))
    with pytest.raises(NotPermittedError, match="no permission to read") as raised:
        import_weights("lite320-coco", out=tmp_path / "w", file=coco)
    assert raised.value.exit_code == 77


def test_a_login_page_instead_of_a_file_without_a_known_hash_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SINGLESHOT_CACHE", str(tmp_path))

    def fetch(_url: str, *, to: Path, **_options: Any) -> Path:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text("<html>Please log in</html>")
        return to

    monkeypatch.setattr(download, "fetch", fetch)
    name = next(row.name for row in SOURCES if row.sha256 is None and row.format != "hed")
    with pytest.raises(DataError):
        cached(name)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    own = tmp_path / "own.pth"
    own.write_text("<html>")
    with pytest.raises(DataError):
        import_weights(name, out=tmp_path / "w", file=own)
    assert own.is_file()


def test_e4_another_formats_file_is_refused_and_nothing_is_written(coco: Path, tmp_path: Path):
    for name in ("ssd300-coco", "ssd300-voc", "vgg16-imagenet"):
        with pytest.raises(DataError) as caught:
            import_weights(name, out=tmp_path / "w", file=coco)
        assert caught.value.exit_code == 65 and str(coco) in str(caught.value)
    with pytest.raises(InputMissingError):
        import_weights("ssd300-coco", out=tmp_path / "w", file=tmp_path / "none.pth")
    assert list(tmp_path.iterdir()) == []


def test_a_known_name_is_fetched_and_imported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SINGLESHOT_CACHE", str(tmp_path))
    fetched: list[str] = []

    def fetch(url: str, *, to: Path, **_options: Any) -> Path:
        fetched.append(url)
        to.parent.mkdir(parents=True)
        return saved(to, port_state(SSD_PYTORCH, 300))

    monkeypatch.setattr(download, "fetch", fetch)
    for _ in range(2):
        assert load("ssd300-voc").label_map.names == tuple(classes.VOC)
    assert fetched == ["https://s3.amazonaws.com/amdegroot-models/ssd300_mAP_77.43_v2.pth"]
    assert cached("ssd300-voc").is_relative_to(tmp_path)


def test_a_file_of_class_names_is_a_name_a_line(tmp_path: Path):
    file = tmp_path / "names.txt"
    file.write_text("\ufeffred cell\nFußgänger \n\n", encoding="utf-8")
    assert read_class_names(file) == ["red cell", "Fußgänger"]
    for content, line in ((b"a\n\nb\n", 2), (b"a\nb\na\n", 3), (b"\xff\xfe", None)):
        file.write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_class_names(file)
        assert caught.value.line == line
    file.write_bytes(b"")
    assert read_class_names(file) == []
    with pytest.raises(InputMissingError):
        read_class_names(tmp_path / "none.txt")
