"""`singleshot doctor`: what is here, what computes, and which verb lacks what. It changes nothing and never fails."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from singleshot import __version__
from singleshot.cli import versions
from singleshot.prediction.backends.threads import cores
from singleshot.storage import atomic

JSON_KEYS = ("singleshot", "devices", "verbs")
EXTRAS = {
    "demo, train, evaluate, predict, data, weights, benchmark": (),
    "train --log tensorboard": ("log",),
    "predict on video, --track": ("video",),
    "predict --engine ray": ("ray",),
    "export --format onnx": ("export",),
    "export --format openvino": ("export", "openvino"),  # whose way goes through ONNX
    "serve": ("web",),
    "weights import of HDF5 files": ("import",),
}
"""What a user wants to do, and the extras that it takes; none for the core."""


def doctor(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what was found to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that file if it is there.")] = False,
) -> None:
    """Show versions, devices and backends, and what is missing for each verb."""
    from singleshot.cli import outputs, progress

    outputs.check(json_file=json_file, json_keys=JSON_KEYS, overwrite=overwrite)
    facts = examine()
    say = progress.out.print
    for title in ("system", "packages", "devices", "backends", "folders"):
        say(f"\n{title}", style="bold")
        for name, value in (facts[title] or {"": None}).items():
            say(f"  {name:<24}{'not installed' if value is None else value}", soft_wrap=True, markup=False)
    say("\nverbs", style="bold")
    for verb, state in facts["verbs"].items():
        lacks = ", ".join(state["missing"])
        say(f"  {'ok     ' if state['ready'] else 'missing'} {verb}", soft_wrap=True, markup=False)
        if lacks:
            say(f"          {lacks}: {state['remedy']}", soft_wrap=True, markup=False)
    if json_file is not None:
        atomic.write_text(json_file, json.dumps(facts, indent=2) + "\n")


def examine() -> dict[str, Any]:
    """Everything that the doctor says, ready for JSON. A package that cannot even be asked is said to be broken."""
    core = versions.needs(None)
    named = {name: versions.version(name) for name in dict.fromkeys([*versions.LOOKED_AT, *core])}
    return {
        "singleshot": __version__,
        "system": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "cores": cores(),
        },
        "packages": named,
        "devices": _asked(_devices),
        "backends": {
            "torch": named["torch"],
            "onnxruntime": _asked(_onnxruntime),
            "openvino": _asked(_openvino),
        },
        "folders": _asked(_folders),
        "verbs": {verb: _state(extras) for verb, extras in EXTRAS.items()},
    }


def _state(extras: Sequence[str]) -> dict[str, Any]:
    """Whether all packages of some extras are here and new enough; without extras, those of the core."""
    missing = []
    needs: dict[str, str] = {}
    for extra in extras or (None,):
        own = versions.needs(extra)
        if not own:
            missing.append(f"no extra {extra} in what is installed" if extra else "nothing is known of what is needed")
        needs |= own
    for name, least in needs.items():
        here = versions.version(name)
        if here is None or versions.parts(here) < versions.parts(least):
            missing.append(f"{name}>={least}" if here is None else f"{name}>={least} (here is {here})")
    what = f"singleshot[{','.join(extras)}]" if extras else "singleshot"
    return {"ready": not missing, "missing": missing, "remedy": f"pip install '{what}'" if missing else None}


def _asked(question: Any) -> Any:
    """The answer, or what the asked package failed with: a doctor must not die of the illness."""
    try:
        return question()
    except ImportError:
        return None
    except Exception as error:
        return {"broken": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}


def _devices() -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"cpu": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}
    for place in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(place)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        found[f"cuda:{place}"] = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, {bf16}"
    return found if torch.cuda.device_count() else found | {"cuda": "none"}


def _onnxruntime() -> str:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    return f"{onnxruntime.__version__}: {', '.join(onnxruntime.get_available_providers())}"


def _openvino() -> str:
    import openvino  # pyright: ignore[reportMissingImports]

    return f"{openvino.__version__}: {', '.join(openvino.Core().available_devices)}"


def _folders() -> dict[str, str]:
    """Where things are kept between runs, and whether they can be."""
    from singleshot import compiled

    kernels = compiled.cache_folder(Path(compiled.__file__).parent)
    return {"compiled kernels": "nowhere: each process compiles anew" if kernels is None else str(kernels)}
