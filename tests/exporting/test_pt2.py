from __future__ import annotations

import zipfile
from pathlib import Path

from tests.exporting import made


def test_an_archive_holds_no_pickle_and_says_nothing_of_this_machine(tmp_path: Path):
    with zipfile.ZipFile(made.write_pt2(tmp_path)) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert entries["data/sample_inputs/model.pt"] == b""
    assert b'"use_pickle": true' not in entries["data/weights/model_weights_config.json"]
    assert b"site-packages" not in entries["models/model.json"] and b"/src/" not in entries["models/model.json"]
    assert entries["extra/flavour.txt"] == b"lite320-fine"
