"""Parts of `make dist`, and what the published package says of itself; the whole is run by `make test-long`."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import singleshot
from tools.closure import closure
from tools.dist import link_packages, size_bytes

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_linked_packages_are_imported_and_others_are_not(tmp_path: Path) -> None:
    link_packages([metadata.distribution("PyYAML")], tmp_path)
    assert (tmp_path / "yaml").is_symlink()
    code = "import yaml; print(yaml.__file__)\ntry: import numpy\nexcept ImportError: print('no numpy')"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(tmp_path)!r})\n{code}"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert Path(lines[0]).parent.parent == tmp_path and lines[1] == "no numpy"


def test_what_is_installed_is_not_replaced_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "yaml").mkdir()
    link_packages([metadata.distribution("PyYAML")], tmp_path)
    assert not (tmp_path / "yaml").is_symlink()


def test_the_size_is_that_of_the_files() -> None:
    assert size_bytes([]) == 0
    assert size_bytes([closure()["torch"]]) > 1e8


def test_the_version_has_one_place() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"] and "version" not in PROJECT["project"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "singleshot.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev0)?", singleshot.__version__)
    others = [ROOT / "README.md", ROOT / "CITATION.cff", ROOT / "Dockerfile", *(ROOT / "docs").glob("how-to/*.md")]
    assert [each.name for each in others if singleshot.__version__ in each.read_text(encoding="utf-8")] == []


def test_the_citation_names_the_licence_and_the_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["license"] == PROJECT["project"]["license"]
    assert [each["year"] for each in citation["references"]] == [2016, 2015]
    assert {"title", "message", "authors", "type"} <= set(citation)


def test_the_matrix_has_every_python_and_system_that_is_supported_or_meant_to_be() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    matrix = jobs["test"]["strategy"]["matrix"]
    classifiers = "\n".join(PROJECT["project"]["classifiers"])
    assert matrix["python"] == re.findall(r"Python :: (3\.\d+)", classifiers)
    assert [each.split("-")[0] for each in matrix["os"]] == ["ubuntu", "macos", "windows"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_least_rights_and_says_that_it_has_not_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}, "a job that needs more says so itself"
    assert "Not run yet" in text.partition("\nname:")[0]
    assert "secrets." not in text, "publishing needs no stored password"


def test_only_the_job_that_publishes_may_speak_for_the_project() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))["jobs"]
    speaking = [name for name, job in jobs.items() if job.get("permissions", {}).get("id-token") == "write"]
    assert speaking == ["publish"] and jobs["publish"]["environment"]["name"] == "pypi"


def test_every_extra_is_explained_on_the_page_about_installing() -> None:
    page = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted(PROJECT["project"]["optional-dependencies"])
