from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from singleshot.benchmark import run as running
from singleshot.benchmark.latency import Row
from singleshot.benchmark.results import Report, Result
from singleshot.benchmark.run import Job
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

    def measure(jobs: list[Job]) -> Iterator[tuple[str, Report]]:
        asked.extend(jobs)
        failed = Result(8, "parallel", error="out of memory")
        found: dict[str, Result] = {}
        for name in (job.workload.name for job in jobs):
            found[name] = failed if name == "vgg512" else done
            yield name, Report({"cpu": "EPYC", "cores": 2}, dict(found))

    monkeypatch.setattr(running, "run", measure)
    return asked


def test_a_failed_workload_exits_with_65_after_the_others_have_run(
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


def test_an_interrupted_benchmark_keeps_its_results(
    done: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_jobs: list[Job]) -> Iterator[tuple[str, Report]]:
        yield "vgg300", Report({"cpu": "EPYC"}, {"vgg300": done})
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run", interrupted)
    assert code_of("run", "--json", str(tmp_path / "mine.json")) == 130
    assert json.loads((tmp_path / "mine.json").read_text())["workloads"]["vgg300"]["epoch_seconds"] == 20.0


def test_options_reach_the_workloads(measured: list[Job]) -> None:
    more = ["--loader", "serial", "--precision", "fp32", "--device", "cpu", "--full"]
    assert code_of("run", "--workload", "kitti", "--workload", "vgg300", *more) == 0
    assert [(job.workload.name, job.loader, job.precision, job.device, job.seconds) for job in measured] == [
        ("vgg300", "serial", "fp32", "cpu", None),
        ("kitti", "serial", "fp32", "cpu", None),
    ]
    assert code_of("run", "--workload", "vgg300", "--data", "x", "--splits", "split.json") == 0
    assert (measured[-1].data, measured[-1].splits) == ("x", "split.json")


def test_usage_errors_end_before_any_work(measured: list[Job], capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("run", "--workload", "vgg30") == 2
    assert "Did you mean vgg300?" in capsys.readouterr().err
    assert code_of("run", "--device", "tpu") == code_of("run", "--splits", "split.json") == 2
    assert code_of("run", "--device", "cpu", "--precision", "fp16") == 78
    assert "fp16 is for CUDA devices" in capsys.readouterr().err
    for verb in (("run",), ("predict", "w.safetensors")):
        assert code_of(*verb, "--seconds", "inf") == code_of(*verb, "--seconds", "nan") == 2
    assert code_of("report", "absent.json") == 66
    assert code_of("predict", "w.safetensors", "--batch-size", "0") == 2
    assert not measured


@pytest.mark.parametrize(
    ("asked", "there", "used"), [("auto", True, "cuda"), ("cpu", True, "cpu"), ("auto", False, "cpu")]
)
def test_the_machine_facts_are_those_of_the_measured_device(
    asked: str, there: bool, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def facts(*, device: str, **_more: object) -> dict[str, str]:
        seen.append(device)
        return {}

    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    monkeypatch.setattr("singleshot.benchmark.machine.facts", facts)
    monkeypatch.setattr("singleshot.benchmark.latency.rows", lambda *_a, **_b: [Row("torch", 1, 0.1, 0.1, 0.1, 10.0)])
    assert code_of("predict", "w.safetensors", "--device", asked, "--json", str(tmp_path / "p.json")) == 0
    assert seen == [used]
