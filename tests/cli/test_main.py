"""The front door: help, exit statuses, and what loads when."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import rich_click as click

import ntsim
import ntsim.cli
from ntsim.cli import COMMANDS, main


def command_that_raises(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `ntsim ioctl` a command that raises."""

    @click.command(name="ioctl")
    def command() -> None:
        raise error

    monkeypatch.setattr(ntsim.cli, "import_module", lambda _: SimpleNamespace(command=command))


def test_help_lists_every_command_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, line in COMMANDS.items():
        assert name in out
        assert line.split(".")[0][:40] in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_loads_and_has_help(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main([name, "--help"]) == 0
    assert f"ntsim {name}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert ntsim.__version__ in capsys.readouterr().out


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frobnicate"]) == 2
    assert "frobnicate" in capsys.readouterr().err


def test_help_loads_no_command_and_no_simulator() -> None:
    program = (
        "import sys; from ntsim.cli import main; main(['--help']);"
        "print(*sorted(m for m in sys.modules if m.startswith('ntsim')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = run.stdout.splitlines()[-1].split()
    assert loaded == ["ntsim", "ntsim.abi", "ntsim.abi.bugcodes", "ntsim.cli", "ntsim.errors"]


def test_a_callers_mistake_exits_2_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command_that_raises(ntsim.ConfigurationError("use --processors 4"), monkeypatch)
    assert main(["ioctl"]) == 2
    assert capsys.readouterr().err == "Error: use --processors 4\n"


def test_ntsims_own_failure_exits_3_with_traceback_and_how_to_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command_that_raises(AssertionError("processor 1: IRQL 99"), monkeypatch)
    assert main(["ioctl"]) == 3
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "processor 1: IRQL 99" in err
    assert "mistake in ntsim" in err
    assert ntsim.__version__ in err


def test_ctrl_c_exits_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command_that_raises(KeyboardInterrupt(), monkeypatch)
    assert main(["ioctl"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_command_returns_its_own_status(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command(name="ioctl")
    def command() -> int:
        return 1

    monkeypatch.setattr(ntsim.cli, "import_module", lambda _: SimpleNamespace(command=command))
    assert main(["ioctl"]) == 1


def test_the_package_itself_is_the_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "ntsim", "--version"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout.split()[-1]) == (0, ntsim.__version__)


@pytest.mark.skipif(sys.platform == "win32", reason="/dev/full is a device of Unix")
def test_output_that_cannot_be_written_is_an_error_in_one_line() -> None:
    with open("/dev/full", "w") as full:
        made = subprocess.run(
            [sys.executable, "-m", "ntsim", "bugcheck", "4a"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert made.returncode == ntsim.cli.USAGE
    assert made.stderr == "Error: cannot write the output: No space left on device\n"
