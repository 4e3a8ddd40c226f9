"""Export programs as torch's archive, `.pt2`, which `torch.export.load` runs without singleshot.

An archive usually contains example inputs as a pickle, and the source file, line and folder of every operator. Ours
contains neither: it can be read without running code, and reveals nothing about the machine that it was made on.

A compiled archive (AOTInductor) holds a library of machine code instead. It runs on this processor and its like, with
this version of torch, and opening it runs code of whoever made it.
"""

from __future__ import annotations

import io
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from singleshot.errors import ConfigError
from singleshot.exporting.program import DetectorProgram, SegmenterProgram
from singleshot.prediction.backends.onnx import INPUT
from singleshot.prediction.extras import quiet

PLACES_OF_ORIGIN = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn")


def to_pt2(program: DetectorProgram | SegmenterProgram) -> torch.export.ExportedProgram:
    """Export the program for batches of any number of images of any size."""
    height, width = program.config.input_size_hw
    example = torch.zeros(2, height + 17, width + 29, 3, dtype=torch.uint8)
    batch, high, wide = (torch.export.Dim(name) for name in ("batch", "height", "width"))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        made = torch.export.export(program, (example,), dynamic_shapes={INPUT: {0: batch, 1: high, 2: wide}})
    for module in made.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                for name in PLACES_OF_ORIGIN:
                    node.meta.pop(name, None)
    made.example_inputs = None
    return made


def write(program: torch.export.ExportedProgram, path: Path, texts: Mapping[str, str]) -> None:
    """Write the archive with those texts as extra files, `<name>.txt`."""
    archive = io.BytesIO()
    with warnings.catch_warnings(), quiet("torch._export"):
        warnings.simplefilter("ignore")
        torch.export.save(program, archive, extra_files={f"{name}.txt": text for name, text in texts.items()})
    path.write_bytes(archive.getvalue())


def write_compiled(program: torch.export.ExportedProgram, path: Path, texts: Mapping[str, str]) -> None:
    """Compile the program for this machine's processor and write the archive, with those texts as extra files.

    The C++ sources that torch puts into such an archive are left out: they name folders of this machine. The library's
    debug texts still do.

    Raises ConfigError where there is no C++ compiler or it fails.
    """
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.exc import CppCompileError, InductorError, InvalidCxxCompiler

    # Its sizes are only an example for the compiler: the program says which may change.
    sizes = (
        next(node for node in program.graph.nodes if node.op == "placeholder" and node.name == INPUT).meta["val"].shape
    )
    hints = [size if isinstance(size, int) else size.node.hint for size in sizes]
    program.example_inputs = ((torch.zeros(hints, dtype=torch.uint8),), {})
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "compiled.pt2"
        try:
            with warnings.catch_warnings(), quiet("torch._inductor", "torch._export"):
                warnings.simplefilter("ignore")
                aoti_compile_and_package(program, package_path=str(made))
        except (InvalidCxxCompiler, CppCompileError, InductorError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            message = f"the C++ compiler is missing or failed ({lines[0][:120] if lines else type(error).__name__})"
            raise ConfigError(message, remedy="Install g++ or clang++, or omit --compile") from error
        finally:
            program.example_inputs = None
        with zipfile.ZipFile(made) as source, zipfile.ZipFile(path, "w") as target:
            for entry in source.infolist():
                if not entry.filename.endswith((".cpp", ".kernel_metadata.json")):
                    target.writestr(entry, source.read(entry))
            for name, text in texts.items():
                target.writestr(f"{made.stem}/extra/{name}.txt", text)
