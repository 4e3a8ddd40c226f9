from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from singleshot import compiled as compiling
from singleshot.compiled import compiled


def total(values):
    result = 0.0
    for value in values:
        result += value
    return result


def test_a_kernel_equals_its_python_also_for_empty_input():
    kernel = compiled(total)
    for values in (np.array([1.5, 2.5]), np.empty(0)):
        assert kernel(values) == total(values)


def test_a_kernel_is_loaded_at_its_first_call_and_can_be_run_uncompiled_before():
    kernel = compiled(total)
    assert kernel.py_func(np.array([1.5, 2.5])) == 4.0 and not kernel.is_loaded
    assert kernel(np.array([1.5, 2.5])) == 4.0 and kernel.is_loaded


def test_importing_a_module_with_kernels_does_not_import_numba():
    code = (
        "import sys, singleshot.detection.postprocess, singleshot.data.augment.resample; print('numba' in sys.modules)"
    )
    assert run_python(code, Path.cwd()).stdout.strip() == "False"


def test_a_wrapper_that_numba_cannot_compile_is_taken_off():
    @functools.wraps(total)
    def checked(*arguments, **options):
        raise AssertionError("the wrapper ran")

    assert compiled(checked)(np.array([1.5, 2.5])) == 4.0


def test_code_that_numba_cannot_type_is_refused_at_the_first_call():
    def nonsense(values):
        return values.no_such_attribute

    kernel = compiled(nonsense)
    with pytest.raises(numba.core.errors.TypingError):
        kernel(np.empty(1))


def test_kernels_of_other_packages_keep_their_cache_folder():
    before = numba.config.CACHE_DIR
    compiled(total)
    assert before == numba.config.CACHE_DIR


KERNELS = """
from singleshot.compiled import compiled
from {helper} import FACTOR, inner
@compiled
def outer(values):
    return inner(values[0]) * FACTOR
"""
HELPER = """
from singleshot.compiled import compiled
FACTOR = {factor}
@compiled
def inner(value):
    return value + {step}
"""


ENVIRONMENT = ("NUMBA_CACHE_DIR", "SINGLESHOT_CACHE", "XDG_CACHE_HOME")


def run_python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=variables | {"PYTHONDONTWRITEBYTECODE": "1"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.slow
def test_a_change_in_a_kernel_that_another_file_calls_is_not_lost_in_the_cache(tmp_path: Path):
    (tmp_path / "outer_loop.py").write_text(KERNELS.format(helper="inner_loop"))
    code = "import numpy as np; from outer_loop import outer; print(outer(np.ones(1)))"
    answers = []
    for factor, step in ((2, 1), (2, 5), (3, 5)):
        (tmp_path / "inner_loop.py").write_text(HELPER.format(factor=factor, step=step))
        answers.append(float(run_python(code, tmp_path).stdout))
    assert answers == [4.0, 12.0, 18.0]


USE = "from inner_loop import inner; print(inner(2))"


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """A folder with one small kernel, and a file below which no folder can be made: not by root either."""
    (tmp_path / "inner_loop.py").write_text(HELPER.format(factor=2, step=1))
    (tmp_path / "file").write_text("")
    return tmp_path


def test_a16_without_a_writable_folder_kernels_work_and_one_line_warns(kernel: Path):
    unwritable = str(kernel / "file" / "cache")
    code = (
        "import pathlib, tempfile; from singleshot import compiled as c; real = c._writable;"
        "c._writable = lambda folder: folder.name != '__pycache__' and real(folder);" + USE
    )
    done = run_python(code, kernel, NUMBA_CACHE_DIR=unwritable, XDG_CACHE_HOME=unwritable)
    assert done.stdout == "3\n"
    assert done.stderr.splitlines() == [
        "no folder for compiled code is writable, so every process compiles again, which takes a while. "
        "Set NUMBA_CACHE_DIR to a writable folder."
    ]


def test_a16_a_chosen_folder_that_cannot_be_written_is_named_and_the_next_one_taken(kernel: Path):
    unwritable = str(kernel / "file" / "cache")
    done = run_python(USE, kernel, NUMBA_CACHE_DIR=unwritable)
    assert done.stdout == "3\n"
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith(f"{unwritable} is not writable, so compiled")


def test_machine_code_is_cached_by_choice_beside_the_source_or_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("SINGLESHOT_CACHE", raising=False)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    source, blocked = tmp_path / "source", tmp_path / "file"
    blocked.write_text("")
    assert compiling.cache_folder.__wrapped__(source) == source / "__pycache__"
    assert compiling.cache_folder.__wrapped__(blocked) == tmp_path / "user" / "singleshot"
    monkeypatch.setenv("SINGLESHOT_CACHE", str(tmp_path / "ours"))
    assert compiling.cache_folder.__wrapped__(blocked) == tmp_path / "ours"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "chosen"))
    assert compiling.cache_folder.__wrapped__(source) == tmp_path / "chosen"
