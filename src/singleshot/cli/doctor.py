"""`singleshot doctor`: shows versions, devices and backends, and what each command lacks. It changes nothing.

`check_versions` runs before every other command: an old torch fails in the middle of a run, with a message about a
missing attribute. The required versions are read from the package's own metadata.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from singleshot import __version__
from singleshot.cli import outputs
from singleshot.errors import ConfigError

JSON_KEYS = ("singleshot", "devices", "verbs")
REQUIRED = ("torch", "numpy", "numba")
"""Packages without which no command works. Others of the core may be missing in minimal images."""
CHECKED = (*REQUIRED, "opencv-python-headless", "lightning-fabric", "safetensors")
EXTRAS = {
    "demo, train, evaluate, predict, data, weights, benchmark": (),
    "train --log tensorboard": ("log",),
    "train --log wandb": ("wandb",),
    "train --log mlflow": ("mlflow",),
    "predict on video, --track": ("video",),
    "predict --engine ray": ("ray",),
    "export --format onnx": ("export",),
    "export --format openvino": ("export", "openvino"),  # converts through ONNX
    "export --format ncnn": ("ncnn",),
    "export --format litert": ("litert",),
    "export --format coreml": ("coreml",),
    "serve": ("web",),
    "weights import of HDF5 files": ("import",),
    "images in HEIC": ("heic",),
    "pretrain without --teacher-file": ("pretrain",),
    "the notebooks of the documentation": ("notebooks", "export", "openvino"),
    "make docs, in a checkout": ("docs",),
    "make test and make check, in a checkout": ("dev",),
}
"""Tasks of a user, and the extras that each requires; none for the core."""
_REQUIREMENT = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)[^;]*?[>=]=(?P<least>[0-9.]+)[^;]*(?:;.*extra == ['\"](?P<extra>[\w-]+))?"
)
_BELOW = re.compile(r"^[^;]*<(?P<below>[0-9.]+)")


def doctor(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the findings to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Show versions, devices and backends, and what is missing for each command."""
    from singleshot.cli.terminal import show

    outputs.check(json_file=json_file, json_keys=JSON_KEYS, overwrite=overwrite)
    facts = examine()
    for title in ("system", "packages", "devices", "backends", "folders"):
        show(f"\n{title}", style="bold")
        for name, value in (facts[title] or {"": None}).items():
            show(f"  {name:<24}{'not installed' if value is None else value}")
    show("\ncommands", style="bold")
    for task, state in facts["verbs"].items():
        show(f"  {'ok     ' if state['ready'] else 'missing'} {task}")
        if state["missing"]:
            show(f"          {', '.join(state['missing'])}: {state['remedy']}")
    outputs.write_json(json_file, facts)


def check_versions() -> None:
    """Raise ConfigError if a required package is missing, or one of `CHECKED` is too old."""
    for name, least in requirements(None).items():
        if name not in CHECKED:
            continue
        installed = version(name)
        if installed is None and name in REQUIRED:
            raise ConfigError(f"{name} is not installed", remedy=f"pip install '{name}>={least}'")
        if installed is not None and version_numbers(installed) < version_numbers(least):
            raise ConfigError(f"{name} {installed} is too old", remedy=f"pip install '{name}>={least}'")


def requirements(extra: str | None) -> dict[str, str]:
    """Return the packages of the core (None) or of an extra, each with its minimum version.

    Empty for an unknown extra, and in a checkout that was never installed.
    """
    try:
        lines = metadata.requires("singleshot") or []
    except metadata.PackageNotFoundError:
        return {}
    matches = [match for line in lines if (match := _REQUIREMENT.match(line))]
    return {match["name"]: match["least"] for match in matches if match["extra"] == extra}


def upper_bounds() -> dict[str, str]:
    """Return the version that each package with an upper bound, of the core or an extra, must be below."""
    try:
        lines = metadata.requires("singleshot") or []
    except metadata.PackageNotFoundError:
        return {}
    pairs = [(_REQUIREMENT.match(line), _BELOW.match(line)) for line in lines]
    return {name["name"]: below["below"] for name, below in pairs if name and below}


def wrong_version(name: str, least: str, upper: Mapping[str, str]) -> str | None:
    """Return what must be installed in place of a package's version or of none; None where it fits."""
    installed, below = version(name), upper.get(name)
    wanted = f"{name}>={least}" + (f",<{below}" if below else "")
    if installed is None:
        return wanted
    numbers = version_numbers(installed)
    fits = numbers >= version_numbers(least) and (below is None or numbers < version_numbers(below))
    return None if fits else f"{wanted} (installed is {installed})"


def version(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def version_numbers(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, for comparison; suffixes are ignored.

    >>> version_numbers("2.13.0+cpu") >= version_numbers("2.11"), version_numbers("2.9") < version_numbers("2.11")
    (True, True)
    """
    numbers = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(number) for number in numbers[0].split(".")) if numbers else ()


def examine() -> dict[str, Any]:
    """Return all findings, ready for JSON. A package that raises when asked is reported as broken."""
    from singleshot.prediction.backends.host import cores

    of_extras = [name for extras in EXTRAS.values() for extra in extras for name in requirements(extra)]
    packages = {name: version(name) for name in dict.fromkeys([*CHECKED, *requirements(None), *of_extras])}
    return {
        "singleshot": __version__,
        "system": {"python": platform.python_version(), "system": platform.platform(), "cores": cores()},
        "packages": packages,
        "devices": _ask(_devices),
        "backends": {"torch": packages["torch"], "onnxruntime": _ask(_onnxruntime), "openvino": _ask(_openvino)},
        "folders": _ask(_folders),
        "verbs": {task: _state(extras) for task, extras in EXTRAS.items()},
    }


def _state(extras: Sequence[str]) -> dict[str, Any]:
    """Return which packages of some extras, or of the core, are missing or too old."""
    missing = []
    needed: dict[str, str] = {}
    for extra in extras or (None,):
        own = requirements(extra)
        if not own:
            missing.append(f"no extra {extra} in the installed package" if extra else "the requirements are unknown")
        needed |= own
    upper = upper_bounds()
    wrong = (wrong_version(name, least, upper) for name, least in needed.items())
    missing += [each for each in wrong if each is not None]
    package = f"singleshot[{','.join(extras)}]" if extras else "singleshot"
    return {"ready": not missing, "missing": missing, "remedy": f"pip install '{package}'" if missing else None}


def _ask(question: Callable[[], Any]) -> Any:
    """Return the answer; None without the package, and the error of a broken one, so that the rest is still shown."""
    try:
        return question()
    except ImportError:
        return None
    except Exception as error:
        return {"broken": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}


def _devices() -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"cpu": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16"
        found[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, {bf16}"
    return found if torch.cuda.device_count() else found | {"cuda": "none"}


def _onnxruntime() -> str:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    return f"{onnxruntime.__version__}: {', '.join(onnxruntime.get_available_providers())}"


def _openvino() -> str:
    import openvino  # pyright: ignore[reportMissingImports]

    return f"{openvino.__version__}: {', '.join(openvino.Core().available_devices)}"


def _folders() -> dict[str, str]:
    """Return the cache folders in use."""
    from singleshot import compiled

    kernels = compiled.cache_folder(Path(compiled.__file__).parent)
    return {"compiled kernels": "none: each process compiles anew" if kernels is None else str(kernels)}
