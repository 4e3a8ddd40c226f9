"""`everyday` in OpenVINO beside the published model in LiteRT, one thread each, in turns.

    python -m benchmarks.everyday [--litert objectron_solution_packed_assets.data]

Both get a photograph that is resized already. LiteRT takes normalised numbers and gives two tables of them, as OpenVINO
does with the network alone (`network`). An export takes bytes of any size and resizes and normalises them itself: `raw`
gives the two tables, `whole` finished detections. LiteRT is PyPI's `ai-edge-litert`; the file is the one that
tools/ready_detector.py reads.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import singleshot
from benchmarks.timing import interleaved, machine, one_thread, ratio, table
from singleshot import preprocess
from singleshot.images import read_image
from singleshot.prediction.backends.openvino import open_openvino
from singleshot.prediction.load import load_detector
from singleshot.starts import shipped


def ours(folder: Path, form: str) -> Callable[[], object]:
    """A call of the exported file on a resized photograph."""
    out = folder / f"{form}.xml"
    singleshot.export("everyday", format="openvino", raw=form == "raw", out=out, check=False)
    backend = open_openvino(out, threads=1)
    pixels = load_detector("everyday").preprocess([read_image(shipped.real_images()[0])]).images.numpy()
    return lambda: backend.run(pixels)


def network_alone() -> Callable[[], object]:
    """A call of the network without what an export has around it, on normalised numbers."""
    import openvino
    import torch

    detector = load_detector("everyday")
    images = preprocess.normalise(
        detector.preprocess([read_image(shipped.real_images()[0])]).images, detector.network.config.preprocess
    )
    made: Any = torch.onnx.export(detector.network, (images.contiguous(),), dynamo=True, verbose=False)
    core = openvino.Core()
    model = core.read_model(model=made.model_proto.SerializeToString(), weights=b"")
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    values = images.contiguous().numpy()
    return lambda: request.infer([values])


def litert(data: Path) -> Callable[[], object]:
    """A call of the published model on the same photograph."""
    from ai_edge_litert.interpreter import Interpreter

    from tools.ready_detector import model_bytes

    interpreter: Any = Interpreter(model_content=model_bytes(data)[1], num_threads=1)
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]["index"]
    pixels = load_detector("everyday").preprocess([read_image(shipped.real_images()[0])]).images.numpy()
    values = pixels.astype(np.float32) / 127.5 - 1

    def call() -> None:
        interpreter.set_tensor(place, values)
        interpreter.invoke()

    return call


def main() -> None:
    """Measure, and print a table and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litert", type=Path, help="objectron_solution_packed_assets.data")
    parser.add_argument("--repeats", type=int, default=100)
    arguments = parser.parse_args()
    one_thread()
    print(machine("openvino", "torch"))
    with tempfile.TemporaryDirectory() as folder:
        calls = {f"OpenVINO, {form}": ours(Path(folder), form) for form in ("whole", "raw")}
        calls["OpenVINO, network"] = network_alone()
        if arguments.litert:
            calls["LiteRT"] = litert(arguments.litert)
        times = interleaved(calls, repeats=arguments.repeats, warm_up=5)
    print(table(times, per="image"))
    for name in calls if arguments.litert else ():
        print(f"{name} / LiteRT: {ratio(times, name, 'LiteRT'):.2f}")


if __name__ == "__main__":
    main()
