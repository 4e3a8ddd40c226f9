from __future__ import annotations

import time

from benchmarks.timing import Seconds, Spread, interleaved, machine, ratio, table


def test_rivals_take_turns_and_the_order_alternates() -> None:
    seen: list[str] = []
    interleaved({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, repeats=3, warm_up=1)
    assert "".join(seen) == "ba" + "ab" + "ba" + "ab"


def test_the_median_counts_and_the_warm_up_does_not() -> None:
    taken = iter([9.0, 1.0, 5.0, 2.0])
    spread = interleaved({"peer": lambda: Seconds(next(taken))}, repeats=3, warm_up=1)["peer"]
    assert spread == Spread(median_s=2.0, least_s=1.0, most_s=5.0, rounds=3)


def test_a_call_that_does_not_measure_itself_is_measured() -> None:
    spread = interleaved({"nap": lambda: time.sleep(0.01)}, repeats=2, clock=time.perf_counter)["nap"]
    assert 0.01 <= spread.least_s < 0.2


def test_a_ratio_and_a_table_worked_by_hand() -> None:
    times = {"ours": Spread(0.1, 0.1, 0.1, 3), "peer": Spread(0.8, 0.7, 0.9, 3)}
    assert ratio(times, "peer", "ours") == 8.0
    assert table(times, per="image", count=100).splitlines()[1].split() == [
        "ours",
        "1.000",
        "[1.000",
        "–",
        "1.000]",
        "1000.0",
    ]


def test_the_machine_is_named_with_the_versions_that_are_there() -> None:
    said = machine("numpy", "no-such-package")
    assert "cores" in said
    assert "numpy" in said
    assert "no-such-package" not in said
