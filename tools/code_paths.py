"""Count the source files that a code path really runs through: `python -m tools.code_paths`.

Each path is run once to warm up (imports, compiled kernels, first-call set-up), then once more while every function of
the package that is entered is noted. What a reader has to open to follow the path is the list of their files.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np

SOURCE = Path(__file__).resolve().parents[1] / "src" / "singleshot"


def files_run(work: Callable[[], Any]) -> list[str]:
    """Return the package's files in which `work` entered a function, in the order of the first entry."""
    entered: dict[str, None] = {}

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        # Comprehensions and lambdas are entered too; class bodies and modules run at import, which is not the path.
        if event == "call" and frame.f_code.co_name != "<module>":
            entered.setdefault(frame.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # pyright: ignore[reportArgumentType]
    paths = (Path(name) for name in entered if name.endswith(".py"))
    return [path.relative_to(SOURCE).as_posix() for path in paths if path.is_relative_to(SOURCE)]


def make_voc(root: Path) -> None:
    """Write the smallest VOC data set: four grey images with one box each."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    names = [f"image{index}" for index in range(4)]
    for name in names:
        cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), np.full((240, 320, 3), 127, np.uint8))
        (root / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename><size><width>320</width><height>240</height><depth>3</depth>"
            "</size><object><name>car</name><bndbox><xmin>21</xmin><ymin>31</ymin><xmax>160</xmax><ymax>150</ymax>"
            "</bndbox></object></annotation>\n"
        )
    (root / "ImageSets" / "Main" / "train.txt").write_text("\n".join(names) + "\n")


def main() -> None:
    """Print the files of the four code paths that docs/tour.md walks through."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_voc(root / "voc")
        for title, work in paths(root).items():
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                work()
                found = files_run(work)
            print(f"{title}: {len(found)} files")
            print("".join(f"  {file}\n" for file in found))


def paths(root: Path) -> dict[str, Callable[[], Any]]:
    """Return the code paths by title, ready to run, each as often as wanted."""
    from singleshot import weights
    from singleshot.cli.main import run
    from singleshot.data import read
    from singleshot.data.load.loader import Loader, LoaderOptions, TrainDetection
    from singleshot.detection.ssd import SSD, config_for
    from singleshot.prediction.load import load
    from singleshot.training.devices import open_fabric
    from singleshot.training.ranks import Ranks
    from singleshot.training.recipe import Recipe
    from singleshot.training.setup import SetupOptions, set_up
    from singleshot.training.step import TrainingStep

    network = SSD(config_for("lite320-fine", ["car"]))
    recipe = Recipe(model="lite320-fine", batch_size=2, workers=0)
    data = read.read(root / "voc", "train")
    setup = set_up(network, recipe, data, None, SetupOptions())
    fabric = open_fabric(precision="fp32", device="cpu")
    step = TrainingStep(network, setup.criterion, recipe, fabric, Ranks(fabric), print)
    batch = next(iter(setup.loader.epoch(0, 0)))
    weights.save(root / "weights.safetensors", network.eval(), {})
    model = load(root / "weights.safetensors")
    image = root / "voc" / "JPEGImages" / "image0.jpg"

    def one_batch() -> None:
        # A cache of its own each time: a data set that was read before would not be read again.
        os.environ["SINGLESHOT_CACHE"] = tempfile.mkdtemp(dir=root)
        dataset = read.read(root / "voc", "train")
        prepare = TrainDetection(network.config.preprocess, recipe.augmentation)
        next(iter(Loader(dataset, prepare, LoaderOptions(batch_size=2, shuffle=True)).epoch(0, 0)))

    def command() -> None:
        with contextlib.suppress(SystemExit):
            run(["predict", str(root / "weights.safetensors"), str(image), "--out", str(root / "out"), "--overwrite"])

    return {
        "a training step, batch to updated weights": lambda: step(batch),
        "a prediction with the model loaded": lambda: model.predict(image),
        "a VOC list to the first batch": one_batch,
        "singleshot predict image.jpg": command,
    }


if __name__ == "__main__":
    main()
