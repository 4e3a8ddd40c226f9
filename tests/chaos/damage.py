"""Cuts and flipped bits in a checkpoint and in a weights file: each one is noticed before anything is used.

    python -m tests.chaos.damage            cuts in steps of 5 %, 100 flips a file
    python -m tests.chaos.damage --long     cuts in steps of 1 %, 1,000 flips a file

safetensors itself notices neither a flipped bit in a tensor nor what it means; the hashes of ours must.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from singleshot import weights
from singleshot.detection.ssd import SSD, config_for
from singleshot.errors import DataError, SingleshotError
from singleshot.training import checkpoint


def cuts(whole: bytes, percent: int) -> Iterator[bytes]:
    """The beginning of a file, in steps of so many percent, and all but its last byte."""
    for part in range(0, 100, percent):
        yield whole[: len(whole) * part // 100]
    yield whole[:-1]


def flips(whole: bytes, count: int, rng: np.random.Generator) -> Iterator[bytes]:
    """A file with one bit flipped, a random one each time."""
    for bit in rng.choice(len(whole) * 8, count, replace=False).tolist():
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def undetected(victim: Path, damages: Iterator[bytes], use: Callable[[], object]) -> tuple[int, int]:
    """How many damages there were, and how many went unnoticed. The file is put back."""
    whole = victim.read_bytes()
    tried = unnoticed = 0
    for damage in damages:
        victim.write_bytes(damage)
        tried += 1
        try:
            use()
            unnoticed += 1
        except DataError as error:
            assert error.exit_code == 65 and str(victim) in f"{error}", error
    victim.write_bytes(whole)
    use()
    return tried, unnoticed


def main(percent: int, count: int, seed: int = 0) -> dict[str, tuple[int, int]]:
    """Damage every file; what was tried and what went unnoticed, by file and kind."""
    rng = np.random.default_rng(seed)
    seen: dict[str, tuple[int, int]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        network = SSD(config_for("lite320-fine", ("square",), (64, 96)))
        tensors = {f"network/{name}": tensor.clone() for name, tensor in network.state_dict().items()}
        root = Path(scratch)
        for step in (1, 2):
            folder = checkpoint.write(root, step, tensors, {"log": [{"epoch": step, "loss": 0.25}]})
        file = root / "weights.safetensors"
        weights.save(file, network, {"data": "squares"})

        def resumed() -> None:
            passed_over: list[SingleshotError] = []
            found = checkpoint.newest(root, passed_over.append)
            assert found is not None and found.step == (1 if passed_over else 2)
            if passed_over:
                raise passed_over[0]

        uses = {
            folder / "state.safetensors": resumed,
            folder / "manifest.json": resumed,
            file: lambda: weights.load(file),
        }
        for victim, use in uses.items():
            whole = victim.read_bytes()
            for kind, damages in (("cuts", cuts(whole, percent)), ("flips", flips(whole, count, rng))):
                seen[f"{victim.name}, {kind}"] = undetected(victim, damages, use)
    for name, (tried, unnoticed) in seen.items():
        print(f"{name}: {tried} tried, {unnoticed} unnoticed")
    return seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(1 if given.long else 5, 1000 if given.long else 100, given.seed)
