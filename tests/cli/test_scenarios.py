"""`ntsim scenarios`: every scenario is listed, and its files are there."""

import pytest

from ntsim.cli import main
from ntsim.errors import ConfigurationError
from ntsim.lab.scenarios import GROUPS, NAMES, all_scenarios, find


def test_all_are_listed_below_their_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios"]) == 0
    listing, _, commands = capsys.readouterr().out.rpartition("\n\n")
    title, found = "", dict[str, list[str]]()
    for line in filter(None, listing.splitlines()):
        if line[:2] in ("  ", "= "):
            found[title].append(line[2:].split()[0])
        else:
            title = line
            found[title] = []
    assert found == {title: list(names) for title, names in GROUPS.items()}
    assert len(commands.splitlines()) == 3


def test_the_list_marks_what_has_no_fixed_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios"]) == 0
    out = capsys.readouterr().out
    marked = [line[2:].split()[0] for line in out.splitlines() if line.startswith("= ")]
    assert marked == [each.name for each in all_scenarios() if each.fixed is None]
    assert max(map(len, out.splitlines())) <= 120


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
