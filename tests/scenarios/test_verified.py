"""Scenarios under Driver Verifier: the mistake is found at its place, correct drivers pass."""

import json

import pytest

from ntsim.cli import main
from ntsim.lab.run import Options, run
from ntsim.lab.scenarios import find

STANDARD = Options(verifier="standard")
WITH_MISTAKES = ("osr-vtx-0x4a", "vmexit-irql")
CORRECT = (
    "hello", "dbgprint", "hfs-part2", "hfs-part3", "hfs-part4", "hfs-part5", "hfs-part6",
    "hfs-part7", "hfs-part8", "hfs-monitor",
)  # fmt: skip


def test_the_forum_driver_is_stopped_where_it_returns_not_where_the_system_call_does() -> None:
    with run(find("osr-vtx-0x4a").target(), STANDARD) as made:
        crash = made.machine.bugcheck
        assert (crash.code, crash.parameters[0], crash.parameters[2:]) == (0xC9, 0x12, (0, 2))
        report = made.machine.report()
        assert report.module_name == "eh"
        assert "returned at DISPATCH_LEVEL" in report.summary


@pytest.mark.parametrize("name", CORRECT)
def test_drivers_without_such_mistakes_pass_the_standard_settings(name: str) -> None:
    with run(find(name).target(), STANDARD) as made:
        assert made.machine.bugcheck is None and made.result.outcome == "completed"


@pytest.mark.parametrize("name", WITH_MISTAKES)
def test_the_repaired_drivers_pass_the_standard_settings(name: str) -> None:
    with run(find(name).target(fixed=True), STANDARD) as made:
        assert made.machine.bugcheck is None and made.result.outcome == "completed"


def test_the_command_line_takes_the_verifier_and_says_how_to_run_it_again(capsys) -> None:
    words = ["run", "osr-vtx-0x4a", "--verifier", "standard", "--expect", "0xc9"]
    assert main(words) == 0
    assert "--verifier standard" in capsys.readouterr().out.split("REPLAY:")[-1]
    assert main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["bugcheck"]["code"], result["expected"]) == ("0xc9", True)
