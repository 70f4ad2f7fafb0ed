"""Running targets: schedules, registry values, what ends a run, and who closes the machine."""

from pathlib import Path

import pytest

from ntsim.errors import ConfigurationError, ScheduleError
from ntsim.lab.expectation import Expectation, in_words
from ntsim.lab.facts import Facts
from ntsim.lab.registry import apply
from ntsim.lab.result import RunResult
from ntsim.lab.run import Options, run
from ntsim.lab.scenarios import find
from ntsim.lab.target import Target, from_paths, is_path
from ntsim.machine import Machine
from ntsim.nt.cm.registry import BOOT_CONTENT
from ntsim.nt.kd.filter import FILTER_KEY

HELLO = find("hello").target()


@pytest.mark.parametrize("text", ["eh.py", "EH.PY", "driver/eh", "driver\\eh", "./eh", "eh.sys"])
def test_a_path_has_a_separator_or_ends_in_py_or_sys(text: str) -> None:
    assert is_path(text)


def test_a_name_is_a_scenario() -> None:
    assert not is_path("osr-vtx-0x4a")


def test_the_schedule_brings_processors_and_seed() -> None:
    with run(HELLO, Options(schedule="1.random.9.3")) as made:
        assert (made.result.processors, made.result.seed) == (3, 9)
        assert made.result.schedule == "1.random.9.3"


@pytest.mark.parametrize(
    "options",
    [
        Options(schedule="1.random.9.3", processors=4),
        Options(schedule="1.random.9.3", seed=0),
        Options(schedule="1.random.9.3", strategy="rr"),
    ],
)
def test_an_option_that_contradicts_the_schedule_is_refused(options: Options) -> None:
    with pytest.raises(ScheduleError, match="leave --"):
        run(HELLO, options)


def test_a_scenarios_processors_yield_to_the_options() -> None:
    target = find("hfs-part3").target()
    assert target.processors == 8
    with run(target, Options(processors=2)) as made:
        assert made.result.processors == 2


def test_what_a_watcher_raises_from_the_poll_ends_the_run() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def watch(machine: Machine) -> None:
        machine.nt.il.poll = interrupt

    with run(HELLO, watch=watch) as made:
        assert made.result.outcome == "interrupted"
        assert made.result.error is None
        assert not made.result.expected


def test_closing_the_run_closes_the_machine() -> None:
    with run(HELLO) as made:
        pass
    with pytest.raises(ConfigurationError, match="closed"):
        made.machine.run_until_idle()


def test_registry_values_come_and_go() -> None:
    (service,) = [path for path in BOOT_CONTENT if path.endswith("\\Services")]
    with Machine(processors=1) as machine:
        apply(machine, {(service, "New"): "text", (FILTER_KEY, "DEFAULT"): None})
        assert machine.nt.cm.get(service, "New") == "text"
        assert machine.nt.cm.get(FILTER_KEY, "DEFAULT") is None
        assert not machine.nt.kd.masks.shows(101, 3)
        apply(machine, {(FILTER_KEY, "DEFAULT"): 0x8})
        assert machine.nt.kd.masks.shows(101, 3)


def test_a_finding_is_not_as_expected(tmp_path: Path) -> None:
    driver = tmp_path / "mine.py"
    driver.write_text(
        "from ntsim.wdm import *\n\n"
        "def DriverEntry(DriverObject, RegistryPath):\n"
        '    DbgPrint("%d\\n")\n'
        "    return STATUS_SUCCESS\n"
    )
    with run(from_paths(str(driver))) as made:
        assert made.result.outcome == "completed"
        assert [each.rule for each in made.result.findings] == ["FormatArguments"]
        assert not made.result.expected


def test_a_result_survives_json() -> None:
    with run(find("osr-vtx-0x4a").target()) as made:
        text = made.result.to_json()
        assert RunResult.model_validate_json(text) == made.result


def test_checks_are_named_by_their_docstring_or_their_name() -> None:
    def the_answer_is_there(facts: Facts) -> bool:
        return True

    def documented(facts: Facts) -> bool:
        """The answer is 42.

        And so on.
        """
        return True

    assert in_words(the_answer_is_there) == "The answer is there"
    assert in_words(documented) == "The answer is 42"


def test_checks_are_not_asked_of_a_run_that_ended_otherwise() -> None:
    def never(facts: Facts) -> bool:
        raise AssertionError("asked")

    target = Target(HELLO.drivers, HELLO.apps, expected=Expectation(0x4A, (never,)))
    with run(target) as made:
        assert [holds for holds, _ in made.verdicts] == [False, False]
