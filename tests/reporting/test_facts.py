from __future__ import annotations

import torch

from singleshot.reporting.facts import cores, machine, memory


def test_the_machine_is_named() -> None:
    facts = dict(machine())
    assert facts["torch"] == torch.__version__ and facts["GPU"]
    assert cores() >= 1 and memory().endswith("GiB")
    assert all(facts.values()), "what is not known is left out"
