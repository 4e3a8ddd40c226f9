from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from singleshot import weights
from singleshot.backbones.layers import synced
from singleshot.data.boxes import voc
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import ConfigError, DataError
from singleshot.training.load_pretrained import new_network
from singleshot.training.ranks import Ranks, in_turn, per_rank
from singleshot.training.recipe import Recipe
from singleshot.training.setup import SetupOptions, set_up
from tests.training.conftest import draw_squares

BASE = ["--batch-size", "4", "--input-size", "64x96", "--workers", "1", "--precision", "fp32"]
# Plain SGD: Adam's first steps are the gradient's sign, and turn its last bits into whole steps.
# From random weights: with a pre-trained backbone the loss halves in three steps, and rounding errors grow with it.
PLAIN = ["--set", "optimizer.kind=sgd", "--set", "optimizer.lr=0.001", "--set", "augmentation.samplers=[]"]
PLAIN += ["--weights", "none"]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def torchrun(*command: str, processes: int = 2) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return subprocess.Popen(
        [*launcher, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )


def train(squares: Path, out: Path, *more: str, processes: int = 2) -> subprocess.Popen[str]:
    command = ["train", "--data", str(squares), "--out", str(out), *BASE, *PLAIN, *more]
    if processes == 1:
        alone = [sys.executable, "-m", "singleshot", *command]
        return subprocess.Popen(alone, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    return torchrun("-m", "singleshot", *command, processes=processes)


def finish(process: subprocess.Popen[str]) -> str:
    said, warned = process.communicate(timeout=240)
    assert process.returncode == 0, warned
    return said


def rows(out: Path) -> list[dict[str, float]]:
    table = csv.DictReader((out / "log.csv").read_text().splitlines())
    return [{name: float(value) for name, value in row.items() if "second" not in name} for row in table]


def test_one_rank_answers_at_once() -> None:
    ranks = Ranks()
    assert ranks.first and ranks.any(True) and not ranks.any(False) and ranks.gather(7) == [7]
    assert ranks.from_first("a") == "a" and ranks.mean(torch.tensor(3.0)) == 3
    assert ranks.first_does(lambda: 5) == 5
    ranks.must_agree({"seed": 1})
    with pytest.raises(DataError):
        ranks.first_does(lambda: (_ for _ in ()).throw(DataError("bad")))


def test_what_ranks_did_in_turn_is_put_together_as_one_process_would_have_done_it() -> None:
    assert in_turn([[0, 3], [1, 4], [2]]) == [0, 1, 2, 3, 4] and in_turn([[], []]) == [] and in_turn([]) == []


def test_a_batch_that_cannot_be_shared_evenly_is_refused_with_the_nearest_that_can() -> None:
    with pytest.raises(ConfigError, match="Take a batch of 8 or 12"):
        per_rank(10, 4)


CONVERSATION = """
import json, os, sys, torch, torch.distributed as dist
from pathlib import Path
from torch import nn
from singleshot.backbones.layers import BatchNorm
from singleshot.backbones.layers import synced
from singleshot.errors import ConfigError, DataError
from singleshot.training.devices import open_fabric
from singleshot.training.ranks import Ranks
from tests.training.test_ranks import judged

torch.set_num_threads(1)
fabric = open_fabric(precision="fp32", device="cpu")
ranks = Ranks(fabric)
said = {"rank": ranks.rank, "any": ranks.any(ranks.rank == 1)}
said["mean"] = float(ranks.mean(torch.tensor(float(ranks.rank))))
said["from_first"] = ranks.from_first({"rank": ranks.rank})["rank"]
said["gather"] = ranks.gather(ranks.rank * 10)
def refuse():
    raise DataError("a bad file", remedy="Mend it", file="a.xml", line=3)
try:
    ranks.first_does(refuse)
except DataError as error:
    said["refused"] = str(error)
try:
    ranks.must_agree({"seed": 1, "lr": 0.5 + ranks.rank})
except ConfigError as error:
    said["differs"] = str(error)

torch.manual_seed(0)
pixels, pull = torch.randn(6, 5, 4, 3) * 3 + 100, torch.randn(6, 5, 4, 3)
alone = BatchNorm(5).train(); nn.init.normal_(alone.weight); nn.init.normal_(alone.bias)
shared = BatchNorm(5).train(); shared.load_state_dict(alone.state_dict())
shared = synced(nn.Sequential(shared))
whole = pixels.clone().requires_grad_(); output = alone(whole); (output * pull).sum().backward()
rows = slice(0, 2) if ranks.rank == 0 else slice(2, 6)
mine = pixels[rows].clone().requires_grad_(); part = shared(mine); (part * pull[rows]).sum().backward()
weight, bias = (ranks.sum(p.grad) for p in (shared[0].weight, shared[0].bias))
pairs = {"output": (part, output[rows]), "grad": (mine.grad, whole.grad[rows]), "weight": (weight, alone.weight.grad),
         "bias": (bias, alone.bias.grad), "mean": (shared[0].running_mean, alone.running_mean),
         "var": (shared[0].running_var, alone.running_var)}
said["norm"] = {name: float((a - b).abs().max() / b.abs().max()) for name, (a, b) in pairs.items()}
said["eval"] = bool(torch.equal(shared.eval()(pixels), shared[0](pixels)))
said["judged"] = judged(Path(sys.argv[2]), ranks)
with open(f"{sys.argv[1]}/{ranks.rank}.json", "w") as file:
    json.dump(said, file)
"""


def judged(squares: Path, ranks: Ranks) -> dict[str, float | None]:
    """What a network of random weights is judged as, by these ranks together."""
    torch.manual_seed(3)
    network = SSD(config_for("lite320-fine", ("square",), (64, 96)))
    train, val = (voc.read(squares, split) for split in ("train", "val"))
    setup = set_up(network, Recipe(train_subset=0), train, val, SetupOptions(ranks=ranks))
    return dict(setup.validate(network).columns)


@pytest.mark.slow
def test_ranks_talk_normalise_over_all_of_them_and_evaluate_bit_for_bit_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "conversation.py"
    script.write_text(CONVERSATION)
    squares = draw_squares(tmp_path / "squares", 42)  # 21 to judge: a batch of 16 and one of 5
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    finish(torchrun(str(script), str(tmp_path), str(squares)))
    alone = judged(squares, Ranks())
    assert alone["val_class"] is not None and alone["val_map"] is not None
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text())["judged"] == alone
        said: dict[str, Any] = json.loads((tmp_path / f"{rank}.json").read_text())
        assert said["rank"] == rank and said["mean"] == 0.5 and said["any"] is True and said["from_first"] == 0
        assert said["gather"] == [0, 10]
        assert said["refused"] == "a.xml:3: a bad file. Mend it."
        assert "rank 1 on host" in said["differs"] and "lr is 1.5, not 0.5" in said["differs"]
        assert max(said["norm"].values()) < 1e-5, said["norm"]
        assert said["eval"]


DEFERRED = """
import json, sys, torch
from pathlib import Path
from singleshot.training.devices import open_fabric
from singleshot.training.ranks import Ranks
from singleshot.training.step import TrainingStep
from tests.training.test_step import SMALL, setup_of

class InfiniteOnRankOne:
    # The value is infinite and the gradient is not: nothing but the loss says so, and on one rank alone.
    def __init__(self, honest): self.honest = honest
    def __getattr__(self, name): return getattr(self.honest, name)
    def __call__(self, *given):
        return {name: part + (float("inf") if ranks.rank == 1 else 0.0) for name, part in self.honest(*given).items()}

torch.set_num_threads(1)
fabric = open_fabric(precision="fp32", device="cpu")
ranks = Ranks(fabric)
setup = setup_of(Path(sys.argv[2]), SMALL)
step = TrainingStep(setup.network, setup.criterion, SMALL, fabric, ranks, print)
step.deferred = True  # as on CUDA devices
step.network.train()
batch = next(iter(setup.loader.epoch(0)))
weights = lambda: torch.cat([each.detach().flatten() for each in step.network.parameters()])
said = {"first": bool(step(batch).finite)}
before, honest = weights(), step.criterion
step.criterion = InfiniteOnRankOne(honest)
result = step(batch)
said["deferred"], said["bad"] = isinstance(result.finite, torch.Tensor), bool(result.finite)
said["own_loss"] = float(torch.stack(list(result.losses.values())).sum())
said["unchanged"] = bool(torch.equal(weights(), before))
step.criterion = honest
said["good"] = bool(step(batch).finite)
said["moved"] = not torch.equal(weights(), before)
said["equal"] = len({float(each) for each in ranks.gather(float(weights().double().sum()))}) == 1
said["flags"] = ranks.each_any(ranks.rank == 0, False, ranks.rank == 1)
with open(f"{sys.argv[1]}/{ranks.rank}.json", "w") as file:
    json.dump(said, file)
"""


@pytest.mark.slow
def test_a_step_that_one_rank_finds_bad_is_left_out_by_all_without_asking_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "deferred.py"
    script.write_text(DEFERRED)
    squares = draw_squares(tmp_path / "squares")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    finish(torchrun(str(script), str(tmp_path), str(squares)))
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert said[0]["own_loss"] < 1e9 and said[1]["own_loss"] == float("inf")
    for each in said:
        assert each["first"] and each["deferred"] and not each["bad"] and each["unchanged"]
        assert each["good"] and each["moved"] and each["equal"] and each["flags"] == [True, False, True]


def test_on_cuda_devices_batch_norm_over_ranks_is_pytorchs(standing_squares: Path) -> None:
    data = voc.read(standing_squares, "train")
    recipe = Recipe(model="lite320-fine", input_size_hw=(64, 96), batch_size=4, workers=0)
    network = new_network(recipe, data.label_map.names).network
    before = {name: value.data_ptr() for name, value in network.state_dict().items()}
    ranks = Ranks()
    ranks.world, ranks.device = 2, torch.device("cuda")
    setup = set_up(network, recipe, data, None, SetupOptions(ranks=ranks))
    norms = [module for module in setup.network.modules() if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm)]
    assert norms and all(type(module) is nn.SyncBatchNorm for module in norms)
    assert {name: value.data_ptr() for name, value in network.state_dict().items()} == before
    assert setup.network.eval()(torch.rand(1, 3, 64, 96)).class_logits.isfinite().all()


def test_segmenters_are_synced_alike() -> None:
    network = synced(new_network(Recipe(model="fcn8s-lite", input_size_hw=(64, 96)), ("road", "other")).network, "cuda")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.slow
def test_two_processes_train_as_one(standing_squares: Path, tmp_path: Path) -> None:
    runs = [train(standing_squares, tmp_path / f"run{n}", "--steps", "3", processes=n) for n in (1, 2)]
    for process in runs:
        said = finish(process)
        assert said.count("steps in") == 1  # the second rank keeps quiet
    one, two = rows(tmp_path / "run1"), rows(tmp_path / "run2")
    assert len(one) == len(two) == 3
    for alone, shared in zip(one, two, strict=True):
        for name, value in alone.items():
            assert shared[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name
    tensors = [weights.load(tmp_path / f"run{n}/last.safetensors").network.state_dict() for n in (1, 2)]
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_rank_that_can_read_none_of_its_batch_keeps_step_with_the_others(tmp_path: Path) -> None:
    squares = draw_squares(tmp_path / "squares")
    picture = squares / "JPEGImages/001.jpg"
    picture.write_bytes(picture.read_bytes()[:-200])
    one_each = ["--batch-size", "2", "--epochs", "2", "--on-bad", "skip", "--set", "rank_timeout_s=20"]
    finish(train(squares, tmp_path / "run", *one_each))
    assert [(row["step"], row["blank"]) for row in rows(tmp_path / "run")] == [(2, 1), (4, 1)]
    assert "001.jpg" in (tmp_path / "run/bad.jsonl").read_text()


def wait_for(pattern: str, out: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not list(out.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children_of(process: subprocess.Popen[str]) -> list[int]:
    """The ranks under a launcher, in their order."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return sorted(int(pid) for pid in listed)


def environment_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_text().split("\0")


@pytest.mark.slow
def test_i5_a_signal_to_one_rank_stops_all_after_one_step_and_the_resumption_equals_the_whole_run(
    standing_squares: Path, tmp_path: Path
) -> None:
    often = ["--steps", "16", "--set", "checkpoint.steps=1", "--set", "validate_every=1000"]
    stopped = train(standing_squares, tmp_path / "run", *often)
    wait_for("checkpoints/step-*", tmp_path / "run", stopped)
    os.kill(children_of(stopped)[-1], signal.SIGTERM)
    said = stopped.communicate(timeout=60)[1]
    assert "stopped by SIGTERM after step" in said and "does not answer" not in said
    finish(train(standing_squares, tmp_path / "run", *often, "--resume"))
    finish(train(standing_squares, tmp_path / "whole", *often))
    tensors = [weights.load(tmp_path / f"{n}/last.safetensors").network.state_dict() for n in ("run", "whole")]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


STUCK = """
import os, sys, time, torch
from pathlib import Path
from singleshot.data.load.loader import Loader
from singleshot.training.run import NoObserver, train
from tests.training.test_faults_ranks import shared
from dataclasses import replace

torch.set_num_threads(1)
honest = Loader.epoch
def batches(self, epoch=0, start=0, **how):
    for place, batch in enumerate(honest(self, epoch, start, **how)):
        if epoch == 3 and os.environ["RANK"] == "1":
            time.sleep(600)
        yield batch
Loader.epoch = batches
recipe = replace(shared(), epochs=50, rank_timeout_s=5.0, validate_every=1000)
train(Path(sys.argv[1]), recipe, out=Path(sys.argv[2]), observer=NoObserver())
"""


@pytest.mark.slow
def test_i2_a_rank_that_beats_but_is_stuck_is_named_too(
    standing_squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "stuck.py"
    script.write_text(STUCK)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    process = torchrun(str(script), str(standing_squares), str(tmp_path / "run"))
    said = process.communicate(timeout=240)[1]
    assert process.returncode != 0
    assert "rank 1 on host" in said and "has made no progress for 5 s while others wait for it" in said


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_i1_i2_without_a_launcher_too_it_ends_with_75_and_leaves_no_process(
    standing_squares: Path, tmp_path: Path, blow: int
) -> None:
    often = ["--set", "checkpoint.steps=2", "--set", "rank_timeout_s=5", "--devices", "2"]
    process = train(standing_squares, tmp_path / "run", "--epochs", "5000", *often, processes=1)
    wait_for("checkpoints/step-*", tmp_path / "run", process)
    victim = next(pid for pid in children_of(process) if "LOCAL_RANK=1" in environment_of(pid))
    os.kill(victim, blow)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 75, said
    assert "rank 1 on host" in said and "does not answer" in said and not Path(f"/proc/{victim}").exists()


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_i1_i2_a_killed_or_hanging_rank_ends_all_soon_is_named_and_the_run_can_be_resumed(
    standing_squares: Path, tmp_path: Path, blow: int
) -> None:
    often = ["--set", "checkpoint.steps=2", "--set", "rank_timeout_s=5"]
    process = train(standing_squares, tmp_path / "run", "--epochs", "5000", *often)
    wait_for("checkpoints/step-*", tmp_path / "run", process)
    victim = children_of(process)[-1]
    os.kill(victim, blow)
    started = time.monotonic()
    while process.poll() is None and time.monotonic() - started < 60:
        time.sleep(0.2)
        if time.monotonic() - started > 25:  # by now the others have ended; the launcher waits for the stopped one
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
    said = process.communicate(timeout=60)[1]
    assert process.returncode != 0 and "rank 1 on host" in said and "does not answer" in said
    finish(train(standing_squares, tmp_path / "run", "--steps", "3", *often, "--resume", "--force"))
