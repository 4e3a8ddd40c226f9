"""What a reader runs, this runs: README's Python, its marked commands, and every command that a page mentions.

A page of docs/ with a marked block is run as README is.

In a page, an HTML comment on the line before a block speaks to this file:

    <!-- skip-test: reason -->   the Python block that follows is shown and not run
    <!-- run -->                 the commands of the console block that follows are run, not only looked up

All that runs in one page runs in one empty folder, in the page's order, so that a later block finds what an earlier
one made. Each Python block is a program of its own, as it is when a reader copies it.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted({README, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")})
BLOCK = re.compile(
    r"(?:^<!-- *(?P<mark>.+?) *-->\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
SHELLS = ("console", "bash", "sh", "shell")
LIMIT_S = 280


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, the comment before it and the line that it starts on."""

    language: str
    text: str
    mark: str
    line: int


def blocks(page: str) -> list[Block]:
    return [
        Block(each["language"], each["text"], each["mark"] or "", page[: each.start("language")].count("\n") + 1)
        for each in BLOCK.finditer(page)
    ]


def commands(block: Block) -> list[str]:
    """The command lines of a console block: after `$ ` where it has prompts, all of them where it has none."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        return [line[2:].strip() for line in lines if line.startswith("$ ")]
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def to_run(page: str) -> list[Block]:
    """The blocks that are run, in order."""
    return [
        each
        for each in blocks(page)
        if (each.language == "python" and not each.mark.startswith("skip-test:"))
        or (each.language in SHELLS and each.mark == "run")
    ]


def words_of(command: str, program: str) -> Iterator[list[str]]:
    """The arguments of each call of `program` in a command line, up to a pipe, a semicolon or a redirection."""
    words = shlex.split(command, comments=True)
    for place, word in enumerate(words):
        if word == program and (place == 0 or words[place - 1] in ("|", "&&", ";") or "=" in words[place - 1]):
            arguments = words[place + 1 :]
            stops = [index for index, each in enumerate(arguments) if each in ("|", "&&", ";", ">", "2>", "&")]
            yield arguments[: min(stops, default=len(arguments))]


@functools.cache
def help_of(*verbs: str) -> str:
    """What `singleshot VERB --help` prints; fails where the verb is unknown."""
    environment = os.environ | {"COLUMNS": "400", "TERMINAL_WIDTH": "400", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", "singleshot", *verbs, "--help"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, f"singleshot {' '.join(verbs)} --help: {done.stderr}"
    return done.stdout


def unknown_parts(arguments: list[str]) -> list[str]:
    """The verb or the options in the arguments of `singleshot` that its own help does not list."""
    verbs: list[str] = []
    while len(verbs) < len(arguments) and re.fullmatch(r"[a-z][a-z-]*", arguments[len(verbs)]):
        word = arguments[len(verbs)]
        if not re.search(rf"^[\s│|]*{word}(\s|$)", help_of(*verbs), re.MULTILINE):
            break
        verbs.append(word)
    rest = arguments[len(verbs) :]
    if rest and not rest[0].startswith("-") and "COMMAND" in help_of(*verbs):
        return [rest[0]]
    options = [word.partition("=")[0] for word in rest if re.match(r"--?[A-Za-z]", word)]
    return [each for each in options if not re.search(rf"(?<![\w-]){each}(?![\w-])", help_of(*verbs))]


def run_page(page: str, folder: Path) -> None:
    """Run what a page says, in order, in a folder; fails at the first block that does not end well."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for block in to_run(page):
        if block.language == "python":
            script = folder / f"block_on_line_{block.line}.py"
            script.write_text(block.text, encoding="utf-8")
            command = [sys.executable, "-W", "error", script.name]
        else:
            command = ["bash", "-euo", "pipefail", "-c", "\n".join(commands(block))]
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"the block on line {block.line} failed:\n{done.stdout}\n{done.stderr}"


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_run(path: Path) -> bool:
    """Whether a page beside README wants to be run: it then has a marked block, and its Python is run too."""
    return any(each.mark == "run" for each in blocks(path.read_text(encoding="utf-8")))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_readme_shows_runs(tmp_path: Path) -> None:
    shutil.copyfile(ROOT / "src" / "singleshot" / "starts" / "cat.jpg", tmp_path / "photo.jpg")
    run_page(README.read_text(encoding="utf-8"), tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", [path for path in PAGES if path != README and is_run(path)], ids=name_of)
def test_what_a_page_marks_runs(path: Path, tmp_path: Path) -> None:
    run_page(path.read_text(encoding="utf-8"), tmp_path)


def test_the_tutorial_is_run() -> None:
    assert is_run(ROOT / "docs" / "tutorial.md")


def test_readme_has_python_to_run_and_every_skipped_block_has_a_reason() -> None:
    page = README.read_text(encoding="utf-8")
    assert [each for each in to_run(page) if each.language == "python"], "README shows no Python that is run"
    skipped = [each for each in blocks(page) if each.mark.startswith("skip-test")]
    assert [each.line for each in skipped if not each.mark.removeprefix("skip-test").strip(": ")] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_command_that_a_page_mentions_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    wrong = []
    for block in blocks(path.read_text(encoding="utf-8")):
        for command in commands(block) if block.language in SHELLS else ():
            for arguments in words_of(command, "singleshot"):
                wrong += [f"line {block.line}: singleshot … {part}" for part in unknown_parts(arguments)]
            for arguments in words_of(command, "make"):
                verbs = [each for each in arguments if "=" not in each and not each.startswith("-")]
                wrong += [f"line {block.line}: make {verb}" for verb in verbs if verb not in targets]
    assert wrong == []


def test_every_command_beside_one_of_another_toolkit_exists() -> None:
    page = (ROOT / "docs" / "how-to" / "moving.md").read_text(encoding="utf-8")
    found = re.findall(r"`(singleshot [^`]+)`", page)
    wrong = [
        f"{command}: {part}"
        for command in found
        for arguments in words_of(command, "singleshot")
        for part in unknown_parts(arguments)
    ]
    assert wrong == [] and len(found) >= 15


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_link_to_a_file_of_ours_leads_somewhere(path: Path) -> None:
    links = LINK.findall(path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


SAMPLE = """\
Text.

```python
value = 1
```

<!-- skip-test: needs a camera -->
```python
camera()
```

<!-- run -->

```console
$ echo one > made.txt
output
$ cat \\
    made.txt
```

```bash
# a comment
NAME=1 singleshot train --data x | head
```
"""


def test_blocks_are_found_with_their_marks_and_lines() -> None:
    found = [(each.language, each.mark, each.line) for each in blocks(SAMPLE)]
    assert found == [
        ("python", "", 3),
        ("python", "skip-test: needs a camera", 8),
        ("console", "run", 14),
        ("bash", "", 21),
    ]
    assert [each.line for each in to_run(SAMPLE)] == [3, 14]


def test_commands_are_what_stands_behind_the_prompt() -> None:
    console, bash = blocks(SAMPLE)[2:]
    assert commands(console) == ["echo one > made.txt", "cat      made.txt"]
    assert list(words_of(commands(bash)[0], "singleshot")) == [["train", "--data", "x"]]
    assert list(words_of("pip install singleshot", "singleshot")) == []


HELP = {
    (): " Usage: singleshot [OPTIONS] COMMAND [ARGS]...\n│ --debug  More. │\n│ train   Train. │\n│ data  Look. │\n",
    ("train",): " Usage: singleshot train [OPTIONS] [RECIPE]\n│ --val-split  -s  TEXT │\n│ --resume │\n",
    ("data",): " Usage: singleshot data [OPTIONS] COMMAND [ARGS]...\n│ check  Check. │\n",
    ("data", "check"): " Usage: singleshot data check [OPTIONS] FOLDER\n",
}


@pytest.mark.parametrize(
    ("command", "unknown"),
    [
        ("--debug", []),
        ("train small --val-split=val -s val --resume", []),
        ("train --val val", ["--val"]),
        ("tarin --resume", ["tarin"]),
        ("data check pictures", []),
        ("data inspect pictures", ["inspect"]),
        ("data check pictures --resume", ["--resume"]),
        ("", []),
    ],
)
def test_a_verb_or_an_option_that_help_does_not_list_is_found(
    monkeypatch: pytest.MonkeyPatch, command: str, unknown: list[str]
) -> None:
    monkeypatch.setitem(globals(), "help_of", lambda *verbs: HELP[verbs])
    assert unknown_parts(command.split()) == unknown


def test_a_block_finds_what_an_earlier_one_made(tmp_path: Path) -> None:
    reading = "\n```python\nfrom pathlib import Path\nassert Path('made.txt').read_text() == 'one\\n'\n```\n"
    run_page(SAMPLE + reading, tmp_path)


def test_a_block_that_fails_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="block on line 3 failed"):
        run_page("# T\n\n```python\nraise SystemExit(3)\n```\n", tmp_path)


def test_a_page_without_blocks_runs_nothing(tmp_path: Path) -> None:
    run_page("# only words\n", tmp_path)
    assert list(tmp_path.iterdir()) == []
