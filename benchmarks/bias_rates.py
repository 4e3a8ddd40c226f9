"""What doubled learning rates for biases cost: the 2017 post says they "almost doubled the training time per epoch".

    .venv/bin/python -m benchmarks.bias_rates

TensorFlow 1 went forward and backward once for each rate. Here a rate is a matter of a parameter group, so the claim
is that it costs nothing. Wall time of a whole training step.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from benchmarks.steps import arguments_of, recipe, step
from benchmarks.timing import interleaved, machine, ratio, table


def main() -> None:
    """Measure a step with biases at twice the weights' rate beside one with all at one rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = arguments_of(parser)
    print(machine("torch"), f"{chosen.threads} threads, {chosen.precision}", sep=", ")
    doubled = recipe("vgg300", chosen.batch_size, chosen.precision, chosen.size)
    plain = replace(doubled, optimizer=replace(doubled.optimizer, bias_lr=1.0))
    calls = {"biases at twice the rate": step(doubled), "one rate": step(plain)}
    times = interleaved(calls, repeats=chosen.repeats, clock=time.perf_counter)
    print(table(times, per="picture", count=chosen.batch_size))
    cost = 100 * (ratio(times, "biases at twice the rate", "one rate") - 1)
    print(f"doubled rates of biases cost {cost:+.1f} % of a step (the post: almost +100 %)")


if __name__ == "__main__":
    main()
