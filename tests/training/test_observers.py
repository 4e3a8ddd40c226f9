from __future__ import annotations

import pytest

from singleshot.training.observers import NoObserver, Observer, SilentObserver


def test_warnings_reach_the_user_and_nothing_else_does(capsys: pytest.CaptureFixture[str]) -> None:
    for watcher in (NoObserver(), SilentObserver()):
        assert isinstance(watcher, Observer)
        watcher.step(epoch=0, step=1, done=0.5, parts={}, rate=0.1, images=2)
        watcher.epoch({"epoch": 1})
        watcher.warn("one line")
    said = capsys.readouterr()
    assert said.out == "" and said.err == "singleshot: warning: one line\n"
