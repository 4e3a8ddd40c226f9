from __future__ import annotations

from pathlib import Path

import pytest

from singleshot.errors import ConfigError
from singleshot.storage.cache import cache_folder


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SINGLESHOT_CACHE", "/somewhere/else")
    assert cache_folder() == Path("/somewhere/else")
    assert cache_folder("index", "a") == Path("/somewhere/else/index/a")
    monkeypatch.delenv("SINGLESHOT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/singleshot")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/user"))
    for ignored in ("", "not/absolute"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder("index") == Path("/home/user/.cache/singleshot/index")


def test_a_user_without_a_home_is_reported_what_to_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SINGLESHOT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(ConfigError, match="Set SINGLESHOT_CACHE") as raised:
        cache_folder()
    assert raised.value.exit_code == 78
