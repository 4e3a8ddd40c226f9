from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch._inductor.config

from singleshot.errors import ConfigError
from singleshot.exporting.pt2 import write_compiled
from tests.exporting import made


def test_an_archive_holds_no_pickle_and_says_nothing_of_this_machine(tmp_path: Path):
    with zipfile.ZipFile(made.write_pt2(tmp_path)) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert entries["data/sample_inputs/model.pt"] == b""
    assert b'"use_pickle": true' not in entries["data/weights/model_weights_config.json"]
    assert b"site-packages" not in entries["models/model.json"] and b"/src/" not in entries["models/model.json"]
    assert entries["extra/flavour.txt"] == b"lite320-fine"


def test_compiling_without_a_compiler_says_what_to_install_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, str(tmp_path / "absent")))
    with pytest.raises(ConfigError, match=r"Install g\+\+ or clang\+\+") as caught:
        write_compiled(made.pt2_program(), tmp_path / "x.pt2", {})
    assert "\n" not in str(caught.value) and not (tmp_path / "x.pt2").exists()
    assert made.pt2_program().example_inputs is None
