"""Whom ranks blame, on a clock of our own; ranks that are killed, stopped and stuck for true are in test_ranks.py."""

from __future__ import annotations

from singleshot.training.ranks import Beat, Heartbeat, RankMonitor, Ranks


def test_i2_a_rank_whose_beat_stands_still_is_silent_and_no_one_blames_himself() -> None:
    monitor = RankMonitor(own=0, world=3, now=100.0)
    for now in (101.0, 102.0):
        monitor.add(1, Beat(beats=int(now)), now)
    assert monitor.lost(3.0, 102.9) is None  # rank 2 has said nothing since 100
    assert monitor.lost(3.0, 103.0) == 2
    monitor.add(2, Beat(beats=1), 103.5)
    assert monitor.lost(3.0, 104.0) is None


def test_i2_a_rank_that_beats_and_stands_still_where_others_have_passed_is_the_one() -> None:
    monitor = RankMonitor(own=0, world=2, now=0.0)
    monitor.add(1, Beat(1, collectives=7, alive_reports=3), 1.0)
    monitor.add(0, Beat(1, collectives=7, alive_reports=3), 1.0)
    assert monitor.stuck(5.0, 100.0) is None  # nobody waits for anybody: a long step
    monitor.add(0, Beat(2, collectives=8, alive_reports=3), 100.0)
    for beat in range(2, 6):
        monitor.add(1, Beat(beat, collectives=7, alive_reports=3), 100.0 + beat)
    assert monitor.stuck(5.0, 104.9) is None and monitor.stuck(5.0, 105.0) == 1
    assert monitor.lost(5.0, 107.0) is None


def test_a_slow_rank_that_moves_is_not_stuck() -> None:
    monitor = RankMonitor(own=0, world=2, now=0.0)
    monitor.add(0, Beat(1, collectives=9, alive_reports=1), 0.0)
    for second in range(1, 60):  # a picture of the validation every second, with the others long done
        monitor.add(1, Beat(second, collectives=8, alive_reports=second), float(second))
        assert monitor.stuck(5.0, float(second)) is None
    monitor.add(1, Beat(60, collectives=9, alive_reports=59), 60.0)
    assert monitor.stuck(5.0, 1000.0) is None


def test_a_first_step_may_compile_for_minutes() -> None:
    monitor = RankMonitor(own=0, world=2, now=0.0)
    monitor.add(0, Beat(1, collectives=9, alive_reports=0), 0.0)
    monitor.add(1, Beat(1, collectives=8, alive_reports=0), 0.0)
    assert monitor.stuck(5.0, 500.0) is None


def test_without_the_store_only_the_first_rank_can_be_blamed() -> None:
    monitor = RankMonitor(own=2, world=3, now=0.0)
    monitor.add(2, Beat(1, collectives=5, alive_reports=1), 1.0)
    monitor.add(1, Beat(1, collectives=4, alive_reports=1), 1.0)
    monitor.store_failed(50.0)
    assert monitor.lost(10.0, 50.0) == 0 and monitor.stuck(10.0, 50.0) is None


def test_one_rank_alone_watches_nobody() -> None:
    with Heartbeat(Ranks(), 0.0):
        pass
