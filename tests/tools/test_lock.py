from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.closure import closure
from tools.lock import ask_pip, locked

LOCK = Path(__file__).parents[2] / "requirements.lock"


def wheel(folder: Path, text: str) -> Path:
    """A wheel of a package `tinything` 1.0 whose module holds that text."""
    path = folder / "tinything-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinything.py", text)
        archive.writestr("tinything-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinything\nVersion: 1.0\n")
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("tinything-1.0.dist-info/WHEEL", tags)
        archive.writestr("tinything-1.0.dist-info/RECORD", "")
    return path


def test_every_package_of_the_core_is_locked_and_nothing_else() -> None:
    lines = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9._-]+==\S+ --hash=sha256:[0-9a-f]{64}", line)] == []
    names = {re.sub(r"[-_.]+", "-", line.partition("==")[0]) for line in lines}
    assert names == set(closure())


@pytest.mark.parametrize("file", ["requirements.lock", "constraints.txt"])
def test_every_pinned_version_is_within_the_bounds_of_pyproject(file: str) -> None:
    project = tomllib.loads((LOCK.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = [*project["dependencies"], *(line for each in project["optional-dependencies"].values() for line in each)]
    bounds = [Requirement(line) for line in stated if not line.startswith("singleshot[")]
    lines = (LOCK.parent / file).read_text(encoding="utf-8").splitlines()
    pins = {
        canonicalize_name(name): rest.split()[0] for name, _, rest in (each.partition("==") for each in lines) if rest
    }
    checked = [each for each in bounds if canonicalize_name(each.name) in pins]
    assert len(checked) >= len(project["dependencies"])
    wrong = [str(each) for each in checked if not each.specifier.contains(pins[canonicalize_name(each.name)])]
    assert wrong == []


def test_a_package_without_a_hash_is_no_lock() -> None:
    package = {"metadata": {"name": "A", "version": "1"}, "download_info": {"archive_info": {}}}
    with pytest.raises(ValueError, match="A 1 comes without"):
        locked({"install": [package]})
    assert locked({"install": []}) == []


@pytest.mark.slow
def test_j11_a_wheel_that_was_replaced_does_not_install(tmp_path: Path) -> None:
    offline = ["--no-index", "--find-links", str(tmp_path)]
    wheel(tmp_path, "kind = 'honest'")
    lock = tmp_path / "requirements.lock"
    lock.write_text("\n".join(locked(ask_pip(["tinything==1.0"], offline))))

    def install(target: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pip", "install", "--require-hashes", *offline, "--target", str(target)]
        return subprocess.run([*command, "-r", str(lock)], capture_output=True, text=True, check=False)

    assert install(tmp_path / "one").returncode == 0 and (tmp_path / "one" / "tinything.py").is_file()
    wheel(tmp_path, "kind = 'malware'")
    refused = install(tmp_path / "two")
    assert refused.returncode != 0 and "DO NOT MATCH THE HASHES" in refused.stderr
    assert not (tmp_path / "two" / "tinything.py").exists()
