from __future__ import annotations

import torch

from singleshot.reporting.facts import machine


def test_the_machine_is_named() -> None:
    facts = dict(machine())
    assert facts["torch"] == torch.__version__ and facts["GPU"]
    assert int(facts["cores for this process"]) >= 1 and facts["memory"].endswith("GiB")
    assert all(facts.values()), "what is not known is left out"
