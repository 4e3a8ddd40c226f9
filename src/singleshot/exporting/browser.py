"""A folder that any static server can serve: a page, the model and ONNX Runtime Web. Nothing is fetched from elsewhere.

The model is the whole detector in ONNX, proven as such; the page gives it the pixels of an image, a video's frame or
a webcam's, in a worker. The runtime comes from its unpacked npm package (`npm pack onnxruntime-web`, MIT), which the
user names: this package has none of its files.
"""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

from singleshot.classes import colours
from singleshot.errors import DataError, InputMissingError
from singleshot.prediction.backends.backend import ExportRecord
from singleshot.storage.files import file_bytes

MODEL = "model.onnx"
PAGE = ("index.html", "style.css", "page.js", "worker.js")
PACKAGE = "onnxruntime-web"
_STEM = "ort-wasm-simd-threaded"
RUNTIME = (
    "ort.wasm.min.mjs",
    f"{_STEM}.mjs",
    f"{_STEM}.wasm",
    "ort.webgpu.min.mjs",
    f"{_STEM}.asyncify.mjs",
    f"{_STEM}.asyncify.wasm",
)
"""What the page needs of the package's `dist`: the build for the CPU and the one for WebGPU."""
NOTICE = """\
The files beside this one are of ONNX Runtime Web {version}, https://github.com/microsoft/onnxruntime

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def runtime_version(runtime: Path) -> str:
    """The version of an unpacked `onnxruntime-web`, if all is there that the page needs.

    Raises:
        InputMissingError: there is no such folder, or a file of the package is missing.
        DataError: it is another package.
    """
    remedy = f"npm pack {PACKAGE}, unpack it, and name its folder `package`"
    described = runtime / "package.json"
    if not described.is_file():
        raise InputMissingError(f"not an unpacked npm package {PACKAGE}", remedy=remedy, file=runtime)
    try:
        facts = json.loads(file_bytes(described, 1 << 20))
        name, version = str(facts["name"]), str(facts["version"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(
            "not an npm package's description", kind="other-runtime", remedy=remedy, file=described
        ) from error
    if name != PACKAGE:
        raise DataError(f"the package {name[:60]!r}", kind="other-runtime", remedy=remedy, file=described)
    for each in RUNTIME:
        if not (runtime / "dist" / each).is_file():
            what = f"{PACKAGE} {version} has no dist/{each}"
            raise InputMissingError(what, remedy="Take the newest version, or 1.30", file=runtime)
    return version


def write(folder: Path, record: ExportRecord, runtime: Path) -> None:
    """Write the page and the runtime into `folder`, in which the model is already.

    Raises as `runtime_version`, and OSError where a file cannot be written.
    """
    version = runtime_version(runtime)
    pages = resources.files("singleshot.exporting") / "page"
    for name in PAGE:
        (folder / name).write_bytes((pages / name).read_bytes())
    (folder / "runtime").mkdir()
    for name in RUNTIME:
        shutil.copyfile(runtime / "dist" / name, folder / "runtime" / name)
    (folder / "runtime" / "LICENSE.txt").write_text(NOTICE.format(version=version), encoding="utf-8")
    own = () if record.config.task == "detection" else record.config.colours
    facts = {
        "task": record.task,
        "flavour": record.config.flavour,
        "class_names": record.config.class_names,
        "colours": own or colours(len(record.config.class_names)).tolist(),
        "precision": record.precision,
        "weights_sha256": record.weights_sha256,
        "runtime": f"{PACKAGE} {version}",
    }
    (folder / "model.json").write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
