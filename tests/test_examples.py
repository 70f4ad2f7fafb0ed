"""Every example in the README and in docs/ prints what it says.

An example is a ```console block; a line that starts with `$ ntsim` is run, and what follows up to
the next one is its output, where a line `...` stands for any lines and ` ...` at the end of one for
the rest of it.
"""

import re
import shlex
from pathlib import Path

import pytest

from ntsim.cli import main

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("**/*.md"))]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, str]]:
    """(command line, expected output) of every example."""
    found = []
    for page in PAGES:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = example.partition("\n")
                found.append((command, output))
    return found


def pattern(output: str) -> str:
    """The expected output as a regular expression."""
    return "\n".join(line_pattern(line) for line in output.rstrip().splitlines())


def line_pattern(line: str) -> str:
    if line == "...":
        return ".*"
    if line.endswith(" ..."):
        return re.escape(line.removesuffix("...")) + "[^\n]*"
    return re.escape(line)


@pytest.mark.parametrize(("command", "output"), examples())
def test_an_example_prints_what_the_page_says(
    command: str, output: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program, *arguments = shlex.split(command)
    assert program == "ntsim"
    monkeypatch.chdir(REPOSITORY)
    main(arguments)
    printed = capsys.readouterr().out.rstrip()
    assert re.fullmatch(pattern(output), printed, re.DOTALL), printed


def test_there_are_examples() -> None:
    assert len(examples()) >= 2
