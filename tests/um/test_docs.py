"""Every app of docs/apps-in-python.md prints what the page says."""

import re
from pathlib import Path

import pytest

from ntsim import Machine

PAGE = Path(__file__).resolve().parents[2] / "docs" / "apps-in-python.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n\n((?:    [^\n]*\n)+)", re.M | re.S)
EXAMPLES = EXAMPLE.findall(PAGE.read_text())


@pytest.mark.parametrize(("source", "output"), EXAMPLES)
def test_the_app_in_the_documentation_prints_its_output(
    source: str, output: str, tmp_path: Path
) -> None:
    app = tmp_path / "example.py"
    app.write_text(source)
    with Machine(processors=2) as machine:
        process = machine.run(app)
    assert (process.exit_code, process.stderr) == (0, "")
    assert process.stdout == re.sub(r"^    ", "", output, flags=re.M)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == 2
