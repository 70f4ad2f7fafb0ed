"""`ntsim new` and `ntsim samples`: what they write runs at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from ntsim.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_new_project_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "My-Device"
    assert main(["new", str(project)]) == 0
    assert "driver/my_device.py" in capsys.readouterr().out
    driver, app = project / "driver" / "my_device.py", project / "userapp" / "my_device_app.py"
    assert main(["run", str(driver), "--app", str(app), "--", "a text"]) == 0
    out = capsys.readouterr().out
    assert "a text\n" in out
    assert "DbgPrint: my_device: 6 bytes" in out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["widget", "echo-test", "test_1"])
def test_the_tests_of_a_new_project_pass(tmp_path: Path, name: str) -> None:
    main(["new", str(tmp_path / name)])
    tests = tmp_path / name
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    if "ntsim" not in plugins():
        command += ["-p", "ntsim.pytest_plugin"]
    run = subprocess.run(
        command,
        cwd=tests,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "5 passed" in run.stdout


def plugins() -> set[str]:
    """Names of the pytest plugins that are installed."""
    from importlib.metadata import entry_points

    return {entry.name for entry in entry_points(group="pytest11")}


@pytest.mark.parametrize("name", ["1st", "class", "driver", "a b", "ntsim", "häuschen"])
def test_a_name_that_cannot_be_a_drivers_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", str(tmp_path / name)]) == 2
    assert name in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    assert main(["new", str(tmp_path / "mine")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_samples_are_copied_and_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["samples", str(tmp_path)]) == 0
    command = capsys.readouterr().out.splitlines()[-1].split()
    assert command[:2] == ["ntsim", "run"]
    assert main(command[1:]) == 0
    assert "Hello, kernel!" in capsys.readouterr().out


def test_samples_are_not_copied_over_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "userapp").mkdir()
    assert main(["samples", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert not (tmp_path / "driver").exists()
