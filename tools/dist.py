"""Build the sdist and the wheel, install the wheel into a fresh environment, and use it outside the checkout.

`make dist` calls it. What it proves: the sdist has all that the wheel is built from; the wheel has every file that
`predict` and `demo` read; and the packages that its metadata requires are enough for both. What it does not prove: that
pip finds these packages. They are not downloaded again: the fresh environment has links to those of the core that the
running one has (`tools.closure`), and to nothing else, so that an undeclared import fails. `--from-registry` installs
them by pip instead, with the pins of constraints.txt.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from tools.closure import closure

ROOT = Path(__file__).parents[1]
DEMO = ("demo", "--minutes", "0.2", "--train", "100", "--test", "20", "--out", "demo")
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "SINGLESHOT_CACHE", "NUMBA_CACHE_DIR")
"""Variables that would let the checkout, or machine code that it compiled, into the fresh environment."""


def link_packages(distributions: Iterable[metadata.Distribution], site: Path) -> None:
    """Link what each distribution has at the top of its site-packages, metadata included, into `site`.

    Scripts and whatever else lies outside site-packages are left out. What `site` has already stays.
    """
    for distribution in distributions:
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            target = Path(str(distribution.locate_file(top))).resolve()
            if target.exists() and not (site / top).exists():
                (site / top).symlink_to(target, target_is_directory=target.is_dir())


def size_bytes(distributions: Iterable[metadata.Distribution]) -> int:
    """Return how many bytes the files of distributions take, without the bytecode that Python adds."""
    files = (Path(str(each.locate_file(file))) for each in distributions for file in each.files or ())
    return sum(file.stat().st_size for file in files if file.suffix != ".pyc" and file.is_file())


def build(folder: Path) -> Path:
    """Build the sdist, and from its content the wheel, into an empty `folder`; return the wheel's path."""
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], ROOT)
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1 or len(list(folder.glob("*.tar.gz"))) != 1:
        raise SystemExit(f"singleshot: error: {folder} has not one wheel and one sdist. See the output above")
    return wheels[0]


def install(wheel: Path, folder: Path, *, from_registry: bool) -> Path:
    """Make an environment in `folder` with the wheel and its requirements; return its `singleshot`."""
    venv.create(folder)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    if from_registry:
        torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
        index = os.environ.get("TORCH_INDEX")
        _run([*pip, *(["--index-url", index] if index else []), "--no-deps", torch], folder)
        _run([*pip, "--constraint", str(ROOT / "constraints.txt"), str(wheel)], folder)
    else:
        _run([*pip, "--no-deps", str(wheel)], folder)
        site = next((folder / "lib").glob("python*/site-packages"))
        link_packages(closure().values(), site)
    return folder / "bin" / "singleshot"


def use(program: Path, folder: Path) -> None:
    """Predict on the package's photograph, twice for the times, and run a short demo, in an empty `folder`."""
    python = program.parent / "python"
    code = "import singleshot, pathlib; print(pathlib.Path(singleshot.__file__).parent)"
    package = Path(_run([str(python), "-c", code], folder, captured=True).strip())
    if ROOT in package.parents:
        raise SystemExit(f"singleshot: error: {package} is imported from the checkout, not from the wheel")
    shutil.copyfile(package / "starts" / "cat.jpg", folder / "photo.jpg")
    for kind in ("the first time, which compiles", "again"):
        started = time.monotonic()
        _run([str(program), "predict", "photo.jpg"], folder)
        print(f"singleshot predict, {kind}: {time.monotonic() - started:.1f} s")
    _run([str(program), *DEMO], folder)
    if not (folder / "demo" / "summary.json").is_file():
        raise SystemExit("singleshot: error: the demo wrote no summary.json. See the output above")


def main(arguments: Sequence[str] | None = None) -> None:
    """Build into dist/, install, use, and print the size of the installation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from-registry", action="store_true", help="install the requirements by pip, not by links")
    options = parser.parse_args(arguments)
    wheel = build(ROOT / "dist")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        program = install(wheel, folder / "environment", from_registry=options.from_registry)
        (folder / "work").mkdir()
        use(program, folder / "work")
    core = closure()
    total, torch = size_bytes(core.values()), size_bytes([core["torch"]])
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, with its {len(core)} requirements {total / 1e6:.0f} MB")
    print(f"of which torch {torch / 1e6:.0f} MB; built, installed and used")


def _run(command: Sequence[str], folder: Path, *, captured: bool = False) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE if captured else None, text=True)
    if done.returncode:
        raise SystemExit(f"singleshot: error: `{' '.join(command)}` ended with {done.returncode}. See the output above")
    return done.stdout or ""


if __name__ == "__main__":
    main()
