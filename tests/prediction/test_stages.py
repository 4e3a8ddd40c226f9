from __future__ import annotations

import threading
import time

import pytest

from singleshot.prediction.stages import Pipeline, Stage, Times, table


def test_results_come_in_order_whoever_was_faster() -> None:
    def slow_if_even(item: int) -> int:
        time.sleep(0.01 if item % 2 == 0 else 0)
        return item * 10

    pipeline = Pipeline(range(40), [Stage("a", slow_if_even, workers=4), Stage("b", lambda item: item + 1)])
    assert list(pipeline) == [item * 10 + 1 for item in range(40)]
    assert [times.items for times in pipeline.times] == [40, 40, 40]


def test_stages_work_at_the_same_time() -> None:
    def wait(item: int) -> int:
        time.sleep(0.02)
        return item

    start = time.perf_counter()
    assert len(list(Pipeline(range(20), [Stage(name, wait) for name in "abc"]))) == 20
    assert time.perf_counter() - start < 0.8 * 20 * 3 * 0.02


def test_nothing_in_gives_nothing_out() -> None:
    pipeline = Pipeline([], [Stage("a", str, workers=3)])
    assert list(pipeline) == [] and table(pipeline, 0, 0.0, 2) == ["no frame went through"]


def test_a_slow_end_holds_the_source_back() -> None:
    drawn: list[int] = []

    def source():
        for item in range(100):
            drawn.append(item)
            yield item

    results = iter(Pipeline(source(), [Stage("a", lambda item: item)], depth=2))
    assert next(results) == 0
    time.sleep(0.2)
    assert len(drawn) < 12
    results.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_in_a_stage_comes_out_and_no_thread_stays(workers: int) -> None:
    before = threading.active_count()

    def fail(item: int) -> int:
        if item == 7:
            raise ValueError("seven")
        return item

    with pytest.raises(ValueError, match="seven"):
        list(Pipeline(range(1000), [Stage("a", fail, workers=workers), Stage("b", lambda item: item)]))
    assert threading.active_count() == before


def test_an_error_in_the_source_comes_after_all_that_was_before_it() -> None:
    def source():
        yield from range(5)
        raise OSError("gone")

    got = []
    with pytest.raises(OSError, match="gone"):
        for item in Pipeline(source(), [Stage("a", lambda item: item, workers=2)]):
            got.append(item)
    assert got == [0, 1, 2, 3, 4]


def test_leaving_early_leaves_no_thread() -> None:
    before = threading.active_count()
    for item in Pipeline(iter(int, 1), [Stage("a", lambda item: item, workers=2), Stage("b", lambda item: item)]):
        assert item == 0
        break
    time.sleep(0.3)
    assert threading.active_count() == before


def test_each_worker_is_set_up_in_its_own_thread() -> None:
    seen: list[str] = []
    list(Pipeline(range(3), [Stage("a", str, 2, lambda: seen.append(threading.current_thread().name))]))
    assert seen == ["a", "a"]


def test_the_table_names_the_stage_that_is_the_limit() -> None:
    pipeline = Pipeline([], [])
    pipeline.times = [Times("decode", items=10, wall_s=0.1, cpu_s=0.1), Times("net", 2, 10, 1.6, 1.5)]
    pipeline.wall_s = 1.0
    lines = table(pipeline, 10, 1.7, 2)
    assert lines[1].split() == ["decode", "10.00", "10.00", "10%"]
    assert lines[2].split() == ["net", "160.00", "150.00", "80%", "x2"]
    assert lines[-1].split()[:4] == ["in", "all", "100.00", "170.00"] and lines[-1].endswith("the limit is net")
    assert "85% of 2 cores" in lines[-1]
