"""The pytest plugin, seen from a project that uses it."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import ntsim.pytest_plugin

def pytest_configure(config):
    if not config.pluginmanager.is_registered(ntsim.pytest_plugin):
        config.pluginmanager.register(ntsim.pytest_plugin)
"""

DRIVER = """
from ntsim.wdm import *

def DriverEntry(DriverObject, RegistryPath):
    DbgPrint("the driver speaks\\n")
    KeRaiseIrqlToDpcLevel()
    KeBugCheckEx(0xDEADBEEF, 1, 2, 3, 4)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a driver that stops the machine."""
    repository = Path(__file__).resolve().parents[1]
    pytester.makeini(f"[pytest]\npythonpath = {repository}\n")
    pytester.makeconftest(CONFTEST)
    pytester.path.joinpath("crashing.py").write_text(DRIVER)
    return pytester


def run(project: pytest.Pytester) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "no:benchmark", "-p", "no:xdist")


def test_machines_take_options_and_are_closed_after_the_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import ntsim, pytest
        built = []

        def test_one(ntsim_machine):
            built.append(ntsim_machine(processors=2, memory_mb=32))
            built.append(ntsim_machine(processors=1, seed=7, memory_mb=32))
            assert [m.schedule for m in built] == ["1.rr.0.2", "1.random.7.1"]

        def test_after():
            for machine in built:
                with pytest.raises(ntsim.ConfigurationError, match="closed"):
                    machine.run_until_idle()
        """
    )
    run(project).assert_outcomes(passed=2)


def test_a_failure_ends_with_the_line_that_replays_it(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        def test_fails(ntsim_machine):
            ntsim_machine(processors=2, seed=7, memory_mb=32)
            assert False
        """
    )
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- replay -*",
            "ntsim_machine(processors=2, memory_mb=32, schedule='1.random.7.2')",
            "*short test summary*",
        ],
        consecutive=True,
    )


def test_an_expected_bug_check_is_shown_whole_when_something_else_fails(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        """
        import ntsim, pytest

        def test_crashes(ntsim_machine):
            machine = ntsim_machine(processors=2, memory_mb=32)
            with pytest.raises(ntsim.BugCheck) as caught:
                machine.load_driver("crashing.py")
            assert caught.value.code == 0xA
        """
    )
    result = run(project)
    result.stdout.fnmatch_lines(
        [
            "*- DbgPrint -*",
            "the driver speaks",
            "*- bug check -*",
            "*deadbeef*",
            "*- replay -*",
            "ntsim_machine(processors=2, memory_mb=32, schedule='1.rr.0.2')",
        ]
    )


def test_an_uncaught_bug_check_is_the_error_of_the_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        def test_crashes(ntsim_machine):
            ntsim_machine(memory_mb=32).load_driver("crashing.py")
        """
    )
    run(project).stdout.fnmatch_lines(["E *deadbeef*: 1, 2, 3, 4 (processor *, IRQL 2)"])
