from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_suite
from benchmarks.gpu import correctness
from benchmarks.gpu.limits import Traffic
from benchmarks.gpu.rows import NO_TIME, Check, NotRunError, Place, Row, at_least, run_checks, within
from benchmarks.gpu_suite import NO_CUDA, STAGES, Stage, markdown, time_boxes
from singleshot.classes import VOC
from singleshot.detection import ssd
from singleshot.segmentation import fcn


def made(checks: list[Check], place: Place) -> list[Row]:
    rows: list[Row] = []
    run_checks(checks, place, rows.append)
    return rows


def place(tmp_path: Path, seconds: float = 60.0) -> Place:
    return Place("cpu", seconds, tmp_path)


def passing() -> Iterator[Row]:
    yield within("a", 0.5, 1.0)


def failing() -> Iterator[Row]:
    yield within("b", 0.5, 1.0)
    raise RuntimeError("an illegal\nmemory access")


def absent() -> Iterator[Row]:
    raise NotRunError("torchvision is not installed here")
    yield


def test_a_check_that_fails_says_why_and_the_next_begins(tmp_path: Path) -> None:
    rows = made([Check("x", failing), Check("y", absent), Check("z", passing)], place(tmp_path))
    assert [(row.check, row.state) for row in rows] == [
        ("b", "passed"),
        ("x", "failed"),
        ("y", "not run"),
        ("a", "passed"),
    ]
    assert rows[1].note == "RuntimeError: an illegal memory access"


def test_what_only_cuda_can_show_is_listed_and_never_passes_on_a_cpu(tmp_path: Path) -> None:
    (row,) = made([Check("no synchronisation", passing, cuda_only=True)], place(tmp_path))
    assert (row.check, row.state, row.note) == ("no synchronisation", "not run", NO_CUDA)
    elsewhere = Row("ONNX Runtime", "not run", note="this build of ONNX Runtime has no CUDAExecutionProvider")
    page = markdown(found([asdict(row), asdict(elsewhere)]))
    assert page.endswith("## What only a CUDA device can show\n\n- no synchronisation\n")


def test_no_check_begins_after_the_stages_time(tmp_path: Path) -> None:
    def slow() -> Iterator[Row]:
        time.sleep(0.05)
        yield from passing()

    rows = made([Check("one", slow), Check("two", slow)], place(tmp_path, seconds=0.01))
    assert [(row.state, row.note) for row in rows] == [("passed", ""), ("not run", NO_TIME)]


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_figure_that_is_not_finite_fails(figure: float) -> None:
    for row in (within("x", figure, 1.0), at_least("x", figure, 1.0)):
        assert (row.state, row.value, row.note) == ("failed", None, "not finite")


def test_bounds_are_of_the_right_side() -> None:
    assert [within("x", value, 1.0).state for value in (1.0, 1.1)] == ["passed", "failed"]
    assert [at_least("x", value, 1.0).state for value in (1.0, 0.9)] == ["passed", "failed"]


def test_a_stage_leaves_its_time_to_those_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(gpu_suite.time, "monotonic", lambda: clock[0])
    boxes = time_boxes((Stage("a", "", 1.0), Stage("b", "", 1.0), Stage("c", "", 2.0)), 100.0)
    assert next(boxes)[1] == 25.0
    clock[0] = 10.0  # the first took 10 of its 25 seconds
    assert next(boxes)[1] == 30.0
    clock[0] = 120.0  # the second ran over
    assert next(boxes)[1] == 0.0


def found(rows: list[dict[str, Any]]) -> dict[str, Any]:
    stage = {"title": "Stage", "box_s": 10.0, "seconds": 3.0, "rows": rows}
    return {"command": "c", "date": "d", "device": "cpu", "machine": {"cores": 2}, "stages": {"s": stage}}


def test_the_page_has_a_row_for_each_result() -> None:
    page = markdown(
        found([asdict(within("loss | image", 2e-5, 1e-4)), asdict(at_least("rate", 15000.0, 5.0, "images/s"))])
    )
    assert "| loss \\| image | passed | 2e-05 | 0.0001 |  |" in page
    assert "| rate | passed | 15,000 images/s | 5 |  |" in page
    assert "only a CUDA device" not in page


def test_results_of_a_stage_that_dies_count_and_the_reason_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def child(stage: Stage, seconds: float, chosen: Any) -> dict[str, str] | None:
        assert seconds > 0
        lines = [json.dumps(asdict(within("a", 0.5, 1.0))), '{"check": "cut of']
        (chosen.out / f"{stage.name}.jsonl").write_text("\n".join(lines))
        ends = {
            "correctness": {"state": "failed", "note": "its process ended with -11"},
            "training": {"state": "not run", "note": "ended after its 9 s, in the middle of a check"},
        }
        return ends.get(stage.name)

    monkeypatch.setattr(gpu_suite, "_run_child", child)
    out = tmp_path / "out"
    assert gpu_suite.main(["--minutes", "1", "--device", "cpu", "--out", str(out)]) == gpu_suite.FAILED
    stored = json.loads((out / "suite.json").read_text())
    assert list(stored["stages"]) == [stage.name for stage in STAGES]
    states = [(row["state"], row.get("note")) for row in stored["stages"]["correctness"]["rows"]]
    assert states == [("passed", ""), ("failed", "its process ended with -11")]
    assert len(stored["stages"]["limits"]["rows"]) == 1
    assert "5 passed, 1 failed, 0 measured, 1 not run" in capsys.readouterr().out


@pytest.mark.parametrize("model", [*ssd.MODELS, *fcn.MODELS])
def test_every_model_has_an_input_size_on_a_cpu_that_it_can_process(model: str, tmp_path: Path) -> None:
    recipe = correctness._recipe(place(tmp_path), model)
    config_for = fcn.config_for if recipe.is_segmentation else ssd.config_for
    config = config_for(model, VOC, recipe.input_size_hw)
    height, width = config.input_size_hw
    assert height * width <= 512 * 512


def test_what_is_not_installed_is_named_before_the_first_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_suite.missing() == []
    found = importlib.util.find_spec
    lacks = {"PIL", "lightning_fabric", "lightning"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in lacks else found(name))
    with pytest.raises(SystemExit, match=r"error: pillow, lightning-fabric not installed\. .* pillow lightning-fabric"):
        gpu_suite.main(["--device", "cpu", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_results_of_another_run_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "suite.json").write_text("{}")
    with pytest.raises(SystemExit, match="is not empty"):
        gpu_suite.main(["--device", "cpu", "--out", str(tmp_path)])


def test_traffic_is_what_operations_read_and_write_and_views_are_free() -> None:
    x = torch.zeros(8, 4)
    with Traffic() as traffic:
        x.t()
        assert traffic.bytes == 0
        x.add(x)
    assert traffic.bytes == 3 * 32 * 4


@pytest.mark.timeout(600)
@pytest.mark.skipif(not os.environ.get("SINGLESHOT_LONG"), reason="three minutes: make test-long runs it")
def test_the_whole_suite_runs_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = gpu_suite.main(["--minutes", "3", "--device", "cpu", "--out", str(out)])
    stored = json.loads((out / "suite.json").read_text())
    rows = [row for stage in stored["stages"].values() for row in stage["rows"]]
    assert [row for row in rows if row["state"] == "failed"] == [] and code == 0
    assert {row["state"] for row in rows} >= {"passed", "measured", "not run"}
    assert "What only a CUDA device can show" in (out / "suite.md").read_text()
