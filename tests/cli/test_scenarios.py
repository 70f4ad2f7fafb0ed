"""`ntsim scenarios`: every scenario is listed, and its files are there."""

import pytest

from ntsim.cli import main
from ntsim.errors import ConfigurationError
from ntsim.lab.scenarios import NAMES, all_scenarios, find


def test_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[: len(NAMES)]] == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_story_is_told(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios", name]) == 0
    out = capsys.readouterr().out
    for title in ("Story", "Files", "Look at", "Source"):
        assert f"\n{title}" in out
    assert max(map(len, out.splitlines())) <= 100


def test_every_file_is_there() -> None:
    for scenario in all_scenarios():
        targets = [scenario.target()]
        if scenario.fixed is not None:
            targets.append(scenario.target(fixed=True))
        for target in targets:
            assert all(path.is_file() for path in (*target.drivers, *target.apps))
            assert target.command[0] == scenario.name


def test_an_unknown_one_lists_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match="hfs-part3"):
        find("nosuch")
