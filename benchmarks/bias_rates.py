"""What doubled learning rates for biases cost: the 2017 post says they "almost doubled the training time per epoch".

    .venv/bin/python -m benchmarks.bias_rates

TensorFlow 1 went forward and backward once for each rate. Here a rate is a matter of a parameter group, so the claim
is that groups cost nothing: ours of weights, scales and biases beside a single one that holds all parameters. Wall
time of a whole training step.
"""

from __future__ import annotations

import argparse
import time
from typing import Any
from unittest import mock

from torch import nn

from benchmarks.steps import arguments_of, recipe, step
from benchmarks.timing import interleaved, machine, ratio, table
from singleshot.training.optimizer import OptimizerConfig


def one_group(network: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """All parameters at one rate and with one decay: what an optimizer does that knows no groups."""
    learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [{"params": learnt, "lr": config.lr, "lr_scale": 1.0, "weight_decay": config.weight_decay}]


def main() -> None:
    """Measure a step with biases at twice the weights' rate beside one with all parameters in one group."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = arguments_of(parser)
    print(machine("torch"), f"{chosen.threads} threads, {chosen.precision}", sep=", ")
    doubled = recipe("vgg300", chosen.batch_size, chosen.precision, chosen.size)
    calls = {"biases at twice the rate": step(doubled)}
    with mock.patch("singleshot.training.optimizer.parameter_groups", one_group):
        calls["one rate"] = step(doubled)
    times = interleaved(calls, repeats=chosen.repeats, clock=time.perf_counter)
    print(table(times, per="image", count=chosen.batch_size))
    cost = 100 * (ratio(times, "biases at twice the rate", "one rate") - 1)
    print(f"doubled rates of biases cost {cost:+.1f} % of a step (the post: almost +100 %)")


if __name__ == "__main__":
    main()
