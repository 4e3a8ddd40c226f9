from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from singleshot.data.boxes import voc
from singleshot.training.provenance import provenance_of, this_command


def test_a_command_with_spaces_can_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/singleshot", "train", "--data", "my cells", "--set", "x=[1, 2]"])
    assert this_command() == "singleshot train --data 'my cells' --set 'x=[1, 2]'"
    assert shlex.split(this_command())[1:] == sys.argv[1:]


def test_what_a_file_says_of_its_making_is_plain_json_without_folders_of_this_machine(squares: Path) -> None:
    facts = provenance_of(voc.read(squares, "train"))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["data"] == squares.name and facts["split"] == "train" and facts["images"] > 0
    assert facts["date"].endswith("+00:00") and str(squares) not in facts["data"]
