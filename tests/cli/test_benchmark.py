from __future__ import annotations

import json
from pathlib import Path

import pytest

from singleshot.benchmark import running
from singleshot.benchmark.child import Job
from singleshot.benchmark.results import Report, Result
from singleshot.cli.main import run


def code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run(["benchmark", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def done() -> Result:
    figures = {"images_per_second": 2.0, "loader_images_per_second": 9.0, "network_images_per_second": 2.1}
    times = {"epoch_seconds": 20.0, "training_seconds": 18.0, "measured_seconds": 4.0, "waiting_share": 0.01}
    return Result(8, "parallel", verdict="network-bound", precision="fp32", steps=1, **figures, **times)


@pytest.fixture
def measured(done: Result, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Runs of the verb measure nothing; each workload but vgg512 works."""
    asked: list[Job] = []

    def measure(jobs: list[Job], **_more: object) -> Report:
        asked.extend(jobs)
        failed = Result(8, "parallel", error="out of memory")
        names = [job.workload.name for job in jobs]
        return Report({"cpu": "EPYC", "cores": 2}, {name: failed if name == "vgg512" else done for name in names})

    monkeypatch.setattr(running, "run", measure)
    return asked


def test_all_four_are_run_and_a_failed_one_ends_with_65_after_the_rest(
    measured: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.json"
    assert code_of("run", "--seconds", "5", "--json", str(file)) == 65
    assert [job.workload.name for job in measured] == ["vgg300", "vgg512", "kitti", "cityscapes"]
    assert {(job.seconds, job.loader, job.data) for job in measured} == {(5.0, "parallel", None)}
    assert "vgg512 failed: out of memory" in capsys.readouterr().out
    assert json.loads(file.read_text())["workloads"]["kitti"]["epoch_seconds"] == 20.0

    assert code_of("report", str(file), "--plot", str(tmp_path / "chart.png")) == 0
    said = capsys.readouterr().out
    assert "mine" in said and "11:38 (1)" in said and (tmp_path / "chart.png").is_file()
    assert code_of("report", "--plot", str(tmp_path / "chart.png")) == 73
    assert code_of("compare", str(file), str(file)) == 0
    assert "kitti: +0.0 % images/s, no difference" in capsys.readouterr().out


def test_options_reach_the_workloads(measured: list[Job]) -> None:
    more = ["--loader", "serial", "--precision", "fp32", "--device", "cpu", "--full"]
    assert code_of("run", "--workload", "kitti", "--workload", "vgg300", *more) == 0
    assert [(job.workload.name, job.loader, job.precision, job.device, job.seconds) for job in measured] == [
        ("vgg300", "serial", "fp32", "cpu", None),
        ("kitti", "serial", "fp32", "cpu", None),
    ]


def test_wrong_calls_end_before_any_work(measured: list[Job], capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("run", "--workload", "vgg30") == 2
    assert "Did you mean vgg300?" in capsys.readouterr().err
    assert code_of("run", "--device", "tpu") == 2
    assert code_of("run", "--device", "cpu", "--precision", "fp16") == 78
    assert "fp16 is for CUDA devices" in capsys.readouterr().err
    assert code_of("report", "absent.json") == 66
    assert code_of("predict", "w.safetensors", "--batch-size", "0") == 2
    assert not measured
