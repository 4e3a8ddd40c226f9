"""The container recipe: its rules, and its commands in a fresh virtual environment. No image is built."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "Dockerfile"
CHANGES_THE_SYSTEM = ("useradd", "apt-get")


def instructions() -> list[tuple[str, str]]:
    """Each instruction and its arguments, without comments, with continued lines joined."""
    text = re.sub(r"\\\n\s*", "", RECIPE.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


def last(name: str) -> str:
    return next(arguments for each, arguments in reversed(instructions()) if each == name)


def test_the_server_runs_as_a_user_without_rights_and_has_a_health_check() -> None:
    names = [name for name, _ in instructions()]
    user = last("USER")
    assert user not in ("root", "0") and any(f"--uid {user} " in each for name, each in instructions() if name == "RUN")
    after = names[len(names) - names[::-1].index("USER") :]
    assert not set(after) & {"RUN", "COPY", "ADD"}, "nothing is installed where the server could change it"
    assert "/healthz" in last("HEALTHCHECK") and "ADD" not in names
    assert not any("secret" in each.lower() or "token" in each.lower() for _, each in instructions())


def test_what_is_copied_is_there_and_let_through_and_the_extras_exist() -> None:
    let_through = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name, arguments in instructions():
        if name == "COPY":
            for source in arguments.split()[:-1]:
                assert (ROOT / source).exists() and f"!{source}" in let_through
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (wanted,) = re.findall(r"\.\[([a-z,]+)\]", RECIPE.read_text(encoding="utf-8"))
    assert set(wanted.split(",")) <= set(extras)


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        pytest.skip("needs hadolint (pip install 'singleshot[dev]')")
    done = subprocess.run([program, str(RECIPE)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not os.environ.get("SINGLESHOT_LONG"), reason="installs torch anew: make test-long runs it")
@pytest.mark.timeout(1800)
def test_the_commands_install_a_server_that_answers_in_a_fresh_environment(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    folder, weights = tmp_path / "work", tmp_path / "model.safetensors"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SINGLESHOT"))}
    environment |= {"PATH": f"{tmp_path / 'venv' / 'bin'}:{environment['PATH']}", "TORCH_INDEX": ""}
    environment |= {"SINGLESHOT_CACHE": str(tmp_path / "cache"), "SINGLESHOT_TOKEN": "a token for this test"}

    def here(text: str) -> list[str]:
        """A JSON array of arguments, with the container's paths and port as they are here."""
        arguments = json.loads(text)
        return [each.replace("/models/model.safetensors", str(weights)).replace("8000", port) for each in arguments]

    ran = 0
    for name, arguments in instructions():
        if name == "COPY":
            *sources, target = arguments.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(
                        ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
                    )
                else:
                    shutil.copy(ROOT / source, folder / target)
        elif name == "RUN" and not arguments.startswith(CHANGES_THE_SYSTEM):
            subprocess.run(arguments, shell=True, cwd=folder, env=environment, check=True, timeout=1500)
            ran += 1
    assert ran == 2
    make = (
        "import sys; from pathlib import Path; from singleshot import weights; "
        "from singleshot.detection.ssd import SSD, config_for; "
        "weights.save(Path(sys.argv[1]), SSD(config_for('lite320-fine', ['car'], (64, 96))), {})"
    )
    subprocess.run(["python", "-c", make, str(weights)], cwd=tmp_path, env=environment, check=True, timeout=300)
    command = [*here(last("ENTRYPOINT")), *here(last("CMD"))]
    command[command.index("0.0.0.0")] = "127.0.0.1"  # a container's every address is this machine's loopback here
    health = here(re.sub(r"^.*?CMD ", "", last("HEALTHCHECK")))
    server = subprocess.Popen(command, cwd=tmp_path, env=environment)
    try:
        deadline = time.monotonic() + 240
        while subprocess.run(health, env=environment, capture_output=True, check=False).returncode != 0:
            assert server.poll() is None and time.monotonic() < deadline, "it never became healthy"
            time.sleep(1)
    finally:
        server.terminate()
        assert server.wait(60) == 143
    assert subprocess.run(health, env=environment, capture_output=True, check=False).returncode != 0
