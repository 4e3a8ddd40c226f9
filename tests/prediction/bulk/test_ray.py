"""Ray is an extra that the environment of the tests need not have; where it is missing its own tests say so."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from singleshot.errors import ConfigError, UsageError
from singleshot.prediction.bulk import processes, ray
from singleshot.prediction.bulk.shards import Job, Worker, finish, open_job
from tests.prediction.bulk.bulk_data import draw_pictures, poison, small_job
from tests.prediction.poisoned import NarrowWorker, PoisonedWorker

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs ray: pip install 'singleshot[ray]'"
)


def test_where_ray_is_missing_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'singleshot\[ray\]'"):
        list(ray.run(tmp_path, [0]))


def test_a_worker_that_dies_while_it_opens_its_model_is_given_up(tmp_path: Path) -> None:
    def never(_folder: Path, _job: Job) -> Worker:
        raise SystemExit  # as a kill would: nothing behind it runs

    job, row = small_job(tmp_path, []), {"shard": 3, "pictures": "[]"}
    for _ in range(processes.MAX_FUTILE_CRASHES):
        with pytest.raises(SystemExit):
            ray._Actor(never, str(tmp_path), job)(row)
    said = ray._Actor(never, str(tmp_path), job)(row)
    assert said["error"] == "StoppedError" and "3 workers died" in said["what"]
    assert list((tmp_path / "shards").iterdir()) == [], "the next run counts anew"


class OneActor:
    """As much of ray as the engine asks for, in this process."""

    def __init__(self) -> None:
        self.data, self.shards = self, []
        self.DataContext = SimpleNamespace(get_current=SimpleNamespace)

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 1.0}

    def ActorPoolStrategy(self, **_options: Any) -> None:  # noqa: N802
        pass

    def from_items(self, items: list[dict[str, Any]], **_options: Any) -> Any:
        def mapped(actor: Any, *, fn_constructor_args: Any, **_options: Any) -> Any:
            return SimpleNamespace(iter_rows=lambda: map(actor(*fn_constructor_args), items))

        return SimpleNamespace(map=mapped)


@pytest.mark.parametrize("file", [None, Path("a.jpg")])
def test_an_error_of_a_worker_names_the_file_that_it_named_and_else_none(
    file: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(_folder: Path, _job: Job) -> Worker:
        raise UsageError("--engine is for detectors", file=file)

    monkeypatch.setattr(ray, "import_ray", OneActor)
    open_job(tmp_path / "out", small_job(tmp_path, []))
    with pytest.raises(UsageError) as caught:
        list(ray.run(tmp_path / "out", [0], make))
    assert str(caught.value) == f"{'' if file is None else 'a.jpg: '}--engine is for detectors."
    assert (caught.value.file, caught.value.remedy) == (file, None)


@pytest.mark.slow
def test_an_actor_is_given_its_shard_and_never_the_whole_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "import_ray", OneActor)
    job = small_job(tmp_path, draw_pictures(tmp_path, 3))
    assert list(ray.run(tmp_path / "out", open_job(tmp_path / "out", job), NarrowWorker)) == [0, 1]
    finish(tmp_path / "out", job, {})
    assert len(json.loads((tmp_path / "out/detections.json").read_text())["pictures"]) == 3


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # ray's own
def test_i13_the_cluster_gives_what_one_process_gives_and_puts_poison_aside(tmp_path: Path) -> None:
    files = draw_pictures(tmp_path, 6)
    poison(files[3])
    job = small_job(tmp_path, files)
    for name, engine in (("ray", ray.run), ("process", processes.run)):
        todo = open_job(tmp_path / name, job)
        assert sorted(engine(tmp_path / name, todo, PoisonedWorker)) == todo
        failed = finish(tmp_path / name, job, {})
        assert [row["file"] for row in failed] == [str(files[1]), str(files[3])]
    said = [(tmp_path / name / "detections.json").read_bytes() for name in ("ray", "process")]
    assert said[0] == said[1] and len(json.loads(said[0])["pictures"]) == 6


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_a_worker_cannot_do_reaches_the_caller_as_it_was_said(tmp_path: Path) -> None:
    job = small_job(tmp_path, draw_pictures(tmp_path, 2))
    open_job(tmp_path / "out", job)
    Path(job.weights).write_bytes(b"no weights")
    with pytest.raises(ConfigError, match="not the weights of this work"):
        list(ray.run(tmp_path / "out", [0]))
