"""The arithmetic of the goals on a GPU: operations and bytes of an image, and what peaks of data sheets make of them.

    python -m benchmarks.goals

Nothing is measured. Operations are torch's count, two for a multiplication with its addition; bytes are those of each
operation's inputs and outputs in bf16, without fusion, plus the optimizer's (weights, gradient, momentum and EMA in
float32) shared by the batch. "Both" is a device that computes and moves one after the other; a share of the peak is the
goal's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.limits import Traffic
from singleshot.classes import VOC
from singleshot.detection.ssd import SSD, config_for

BATCH = 32
OPTIMIZER_PASSES = 8
"""Of all parameters in float32: gradient, weights, momentum and EMA are read, the last three written, and a cast."""
MACHINES = {"H100 SXM": (989e12, 3.35e12), "H200": (989e12, 4.8e12), "A100": (312e12, 2.04e12), "L4": (121e12, 0.3e12)}
"""Dense bf16 operations and bytes a second, by the makers' data sheets."""
GOALS = {("vgg300", True): 1500, ("vgg512", True): 550, ("vgg300", False): 5000}


@dataclass(frozen=True)
class Work:
    """Of one image: floating-point operations and bytes."""

    flops: float
    bytes: float


def work_of(model: str, *, training: bool, batch: int = BATCH) -> Work:
    """Count a forward pass, or one with its backward pass, on tensors without values."""
    with torch.device("meta"):
        network = SSD(config_for(model, VOC)).to(torch.bfloat16).train(training)
        height, width = network.config.input_size_hw
        images = torch.empty(batch, 3, height, width, dtype=torch.bfloat16)
    with torch.set_grad_enabled(training), FlopCounterMode(display=False) as counter, Traffic() as traffic:
        outputs = network(images)
        if training:
            torch.stack([output.sum() for output in outputs]).sum().backward()
    parameters = sum(each.numel() for each in network.parameters())
    moved = traffic.bytes + (OPTIMIZER_PASSES * 4 * parameters if training else 0)
    return Work(counter.get_total_flops() / batch, moved / batch)


def main() -> None:
    """Print the table."""
    print(f"batch {BATCH}, bf16; GFLOP and MB of an image; images/s at the peaks of data sheets\n")
    head = ("", "GFLOP", "MB", "machine", "computing", "moving", "both", "goal", "of peak")
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for (model, training), goal in GOALS.items():
        work = work_of(model, training=training)
        for name, (flops, bandwidth) in MACHINES.items():
            compute, move = work.flops / flops, work.bytes / bandwidth
            cells = [f"{model}, {'training' if training else 'inference without NMS'}", f"{work.flops / 1e9:.1f}"]
            cells += [f"{work.bytes / 1e6:,.0f}", name]
            cells += [f"{1 / each:,.0f}" for each in (compute, move, compute + move)]
            cells += [f"{goal:,}", f"{100 * goal * compute:.0f} %"] if name.startswith("H") else ["", ""]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
