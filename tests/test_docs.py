"""Every Python example of docs/ is a driver that loads and unloads without a finding."""

import re
from pathlib import Path

import pytest

import ntsim

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


def examples() -> list[tuple[str, str]]:
    found = []
    for page in sorted(DOCS.glob("*.md")):
        for number, source in enumerate(BLOCK.findall(page.read_text()), 1):
            if "def DriverEntry" in source:
                found.append((f"{page.stem}-{number}", source))
    return found


@pytest.mark.parametrize(("name", "source"), examples(), ids=[name for name, _ in examples()])
def test_the_driver_in_the_documentation_loads(name: str, source: str, tmp_path: Path) -> None:
    driver = tmp_path / "example.py"
    driver.write_text(source)
    with ntsim.Machine() as machine:
        loaded = machine.load_driver(driver)
        if loaded.object.DriverUnload:
            machine.unload_driver(loaded)
        assert machine.findings == ()
        expected = re.findall(r'DbgPrint\("(\w+)', source)
        spoken = {line.split()[0] for line in machine.debug_output}
        assert spoken == {word for word in expected if word != "never"}


def test_the_first_driver_of_the_readme_runs(tmp_path: Path) -> None:
    """Its two files, as the page prints them, and what the page says they print."""
    readme = (DOCS.parent / "README.md").read_text()
    driver, app = BLOCK.findall(readme)[:2]
    (tmp_path / "hello.py").write_text(driver)
    (tmp_path / "helloapp.py").write_text(app)
    with ntsim.Machine(processors=2) as machine:
        machine.load_driver(tmp_path / "hello.py")
        process = machine.run(tmp_path / "helloapp.py")
        assert (process.exit_code, process.stdout) == (0, "HELLO, KERNEL\n")
    broken = driver.replace(
        "    return STATUS_SUCCESS", "    KeRaiseIrqlToDpcLevel()\n    return STATUS_SUCCESS"
    )
    (tmp_path / "hello.py").write_text(broken)
    with ntsim.Machine(processors=2) as machine:
        machine.load_driver(tmp_path / "hello.py")
        with pytest.raises(ntsim.BugCheck) as caught:
            machine.run(tmp_path / "helloapp.py")
        assert caught.value.code == 0x4A
