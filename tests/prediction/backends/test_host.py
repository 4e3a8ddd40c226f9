from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from singleshot.prediction.backends import host


def test_the_processor_is_called_as_linux_calls_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2: fast\nprocessor\t: 1\nmodel name\t: another\n")
    monkeypatch.setattr(host, "PROCESSOR", listed)
    assert host.processor() == "Some CPU @ 2: fast"


@pytest.mark.parametrize(("kind", "said"), [("arm64", "arm64"), ("", None)])
def test_elsewhere_its_kind_stands_for_its_name_and_nothing_is_none(
    kind: str, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "PROCESSOR", tmp_path / "absent")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: kind)
    assert host.processor() == said


def test_memory_is_counted_in_bytes_or_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = host.memory_bytes()
    assert known is not None and known > 2**28

    def unknown(_name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert host.memory_bytes() is None
