"""The whole predict call on a CPU: our runtimes side by side, and beside torchvision's eager detectors.

One decoded 1280x720 frame, a batch of one, two threads unless told otherwise, wall time. Networks but `everyday` are
untrained; the last layers of detectors say "background", so that little is suppressed, as on most real frames. int8
scales are measured on that one frame: right for a stopwatch and for nothing else. Beside vgg300 runs torchvision's
ssd300_vgg16, beside the light detectors its ssdlite320; ncnn is measured where it is installed.

    .venv/bin/python -m benchmarks.predict_cpu --model lite320 --peers ~/peers
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import Peer, peer_argument
from benchmarks.timing import Seconds, interleaved, machine, ratio, table

TARGETS = {"vgg300": {"torch bf16": 2.6, "openvino": 1.3, "openvino int8": 5.0}, "lite320": {"best": 4.0}}


def exports(weights: Path | str, image: np.ndarray, folder: Path) -> dict[str, tuple[Path, dict[str, object]]]:
    """Files to open, each with how: every format, and OpenVINO's three precisions."""
    import cv2

    import singleshot
    from singleshot.exporting.export import SUFFIXES

    (folder / "pictures").mkdir()
    cv2.imwrite(str(folder / "pictures" / "frame.png"), image[:, :, ::-1])
    made: dict[str, tuple[Path, dict[str, object]]] = {}
    wanted = [
        ("pt2", "pt2", "fp32"),
        ("onnx", "onnx", "fp32"),
        ("onnx int8", "onnx", "int8"),
        ("openvino", "openvino", "fp32"),
        ("openvino int8", "openvino", "int8"),
    ]
    if importlib.util.find_spec("ncnn") and importlib.util.find_spec("pnnx"):
        wanted += [("ncnn", "ncnn", "fp32"), ("ncnn fp16", "ncnn", "fp16")]
    for name, file_format, precision in wanted:
        data = folder / "pictures" if precision == "int8" else None
        out = folder / f"{name.replace(' ', '-')}{SUFFIXES[file_format]}"
        how: dict[str, Any] = {"format": file_format, "precision": precision, "out": out, "calibration_data": data}
        done = singleshot.export(weights, check=False, **how)
        made[name] = (done.path, {})
    made["openvino bf16"] = (made["openvino"][0], {"bf16": True})
    return made


def background(network: object) -> None:
    """Let an untrained network say "background" everywhere, in place."""
    for head in network.class_heads:  # pyright: ignore[reportAttributeAccessIssue]
        layer = head[-1] if hasattr(head, "__getitem__") else head
        layer.bias.data.zero_()
        layer.bias.data.view(-1, network.columns)[:, 0] = 8.0  # pyright: ignore[reportAttributeAccessIssue]


def run() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="lite320", help="a model, or everyday")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    peer_argument(parser)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)

    import torch

    import singleshot
    from singleshot import weights
    from singleshot.detection import ssd
    from singleshot.segmentation import fcn

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    image = np.random.default_rng(0).integers(0, 256, (45, 80, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = [f"class {index}" for index in range(options.classes)]
        file: Path | str = folder / "w.safetensors"
        if options.model in fcn.MODELS:
            weights.save(file, fcn.FCN(fcn.config_for(options.model, names)).eval(), {})
        elif options.model in ssd.MODELS:
            network = ssd.SSD(ssd.config_for(options.model, names)).eval()
            background(network)
            weights.save(file, network, {})
        else:
            file = options.model
        models = {"torch": singleshot.load(file), "torch bf16": singleshot.load(file, bf16=True)}
        for title, (path, how) in exports(file, image, folder).items():
            models[title] = singleshot.load(path, threads=options.threads, device="cpu", **how)  # pyright: ignore[reportArgumentType]
        calls: dict[str, Callable[[], object]] = {
            title: (lambda model=model: model.predict(image)) for title, model in models.items()
        }
        light = options.model not in fcn.MODELS and not options.model.startswith(("vgg", "ssd"))
        peer_model = "lite320" if light else {"vgg300": "vgg300"}.get(options.model)
        if options.peers is None or peer_model is None:
            _report(calls, options.model, options.repeats)
            return
        np.save(folder / "frame.npy", image)
        request = {"model": peer_model, "classes": options.classes, "threads": options.threads}
        with Peer("benchmarks/peer_predict.py", environment=options.peers) as peer:
            ask = {**request, "file": str(folder / "frame.npy")}
            calls["torchvision"] = lambda: Seconds(peer.ask(**ask)["seconds"])
            _report(calls, options.model, options.repeats)


def _report(calls: dict[str, Callable[[], object]], model: str, repeats: int) -> None:
    times = interleaved(calls, repeats=repeats, warm_up=2, clock=time.perf_counter)
    print(machine("torch", "onnxruntime", "openvino"))
    print(f"{model}, one decoded 1280x720 frame, the whole call")
    print(table(times, per="frame"))
    if "torchvision" not in times:
        return
    best = min((name for name in times if name != "torchvision"), key=lambda name: times[name].median_s)
    for name in calls:
        if name != "torchvision":
            aim = TARGETS.get(model, {}).get(name) or (TARGETS.get(model, {}).get("best") if name == best else None)
            said = f"   aim {aim}" if aim else ""
            low = times["torchvision"].least_s / times[name].most_s
            high = times["torchvision"].most_s / times[name].least_s
            print(f"{name}: {ratio(times, 'torchvision', name):.2f}x torchvision [{low:.2f} – {high:.2f}]{said}")


if __name__ == "__main__":
    run()
