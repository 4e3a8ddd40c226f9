from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from benchmarks.peers import Peer, peer_argument

DOUBLING = """
from benchmarks.peers import serve

def work(request):
    print("libraries chatter")
    return {"twice": 2 * request["number"]} if "number" in request else exit(3)

serve(work)
"""


@pytest.fixture
def doubling(tmp_path: Path) -> Peer:
    script = tmp_path / "doubling.py"
    script.write_text(DOUBLING)
    return Peer(str(script), environment=Path(sys.prefix))


def test_a_peer_answers_request_by_request_whatever_its_libraries_print(doubling: Peer) -> None:
    with doubling as peer:
        assert peer.ask(number=3) == {"twice": 6}
        assert peer.ask(number=[1]) == {"twice": [1, 1]}


def test_a_peer_that_ends_is_named(doubling: Peer) -> None:
    with doubling as peer, pytest.raises(SystemExit, match=r"doubling\.py ended with code 3"):
        peer.ask(nothing=0)


def test_a_missing_environment_leads_to_the_page_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="README"):
        Peer("script.py", environment=tmp_path)


def test_the_environment_comes_from_the_option_or_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    def peers(*words: str) -> Path | None:
        parser = argparse.ArgumentParser()
        peer_argument(parser)
        return parser.parse_args(words).peers

    monkeypatch.delenv("SINGLESHOT_PEERS", raising=False)
    assert peers() is None
    monkeypatch.setenv("SINGLESHOT_PEERS", "/some/where")
    assert peers() == Path("/some/where")
    assert peers("--peers", "else/where") == Path("else/where")
