"""Every scenario ends as its story says, on any number of processors, the same way each time."""

import pytest

from ntsim.lab.expectation import COMPLETED
from ntsim.lab.run import Options, run
from ntsim.lab.scenarios import NAMES, find

CASES = [
    pytest.param(name, fixed, id=f"{name} fixed" if fixed else name)
    for name in NAMES
    for fixed in (False, True)
    if not fixed or find(name).fixed is not None
]
ALONE = {"hv-two-hypervisors": "hang", "hv-never-back": "completed"}
"""Stories that end in 0x101, and how they end where no other processor can notice: the processor
that never answers is the only one, or there is none that the driver could leave in root mode."""
FORUM = [pytest.param(fixed, id="fixed" if fixed else "crash") for fixed in (False, True)]


def unmet(name: str, fixed: bool, options: Options | None = None) -> list[str]:
    """What a run of the scenario did not do that it should have."""
    with run(find(name).target(fixed), options or Options()) as made:
        if not find(name).target(fixed).expected.hangs:
            assert made.result.error is None, made.result.error
        return [text for holds, text in made.verdicts if not holds]


@pytest.mark.parametrize(("name", "fixed"), CASES)
def test_a_scenario_ends_as_its_story_says(name: str, fixed: bool) -> None:
    assert unmet(name, fixed) == []


@pytest.mark.parametrize(("name", "fixed"), CASES)
@pytest.mark.parametrize("processors", [1, 3])
def test_on_other_numbers_of_processors(name: str, fixed: bool, processors: int) -> None:
    if processors == 1 and name in ALONE and not fixed:
        with run(find(name).target(), Options(processors=1)) as made:
            assert made.result.outcome == ALONE[name]
    else:
        assert unmet(name, fixed, Options(processors=processors)) == []


@pytest.mark.parametrize("fixed", FORUM)
@pytest.mark.parametrize("processors", [2, 8, 64])
def test_the_forum_crash_on_any_machine(processors: int, fixed: bool) -> None:
    assert unmet("osr-vtx-0x4a", fixed, Options(processors=processors)) == []


@pytest.mark.parametrize("fixed", FORUM)
@pytest.mark.parametrize("seed", [1, 2, 77])
def test_the_forum_crash_under_any_schedule(seed: int, fixed: bool) -> None:
    assert unmet("osr-vtx-0x4a", fixed, Options(seed=seed)) == []


def test_sixty_four_processors_all_enter_VMX_operation() -> None:
    assert unmet("hfs-part3", False, Options(processors=64)) == []


def test_the_expectation_does_not_influence_the_run() -> None:
    target = find("osr-vtx-0x4a").target()
    with run(target) as as_told, run(target, Options(expected=COMPLETED)) as otherwise:
        assert as_told.result.expected
        assert not otherwise.result.expected
        assert as_told.result.differences(otherwise.result) == ["expected"]
        logs = [[str(event) for event in each.machine.events] for each in (as_told, otherwise)]
        assert logs[0] == logs[1]
