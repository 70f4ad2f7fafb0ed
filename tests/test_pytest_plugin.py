"""The pytest plugin, seen from a project that uses it, with a machine that only keeps a diary."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

FAKE_MACHINE = """
import sys, types

class Machine:
    closed = []
    def __init__(self, **options):
        self.options = options
        self.schedule = f"1-rr-{options.get('seed', 0)}"
    def __enter__(self):
        return self
    def __exit__(self, *error):
        Machine.closed.append(self.schedule)

module = types.ModuleType("ntsim.machine")
module.Machine = Machine
sys.modules["ntsim.machine"] = module

import ntsim.pytest_plugin

def pytest_configure(config):
    if not config.pluginmanager.is_registered(ntsim.pytest_plugin):
        config.pluginmanager.register(ntsim.pytest_plugin)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project whose conftest puts the fake machine in place."""
    repository = Path(__file__).resolve().parents[1]
    pytester.makeini(f"[pytest]\npythonpath = {repository}\n")
    pytester.makeconftest(FAKE_MACHINE)
    return pytester


def test_machines_take_options_and_are_closed_after_the_test(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        def test_one(ntsim_machine):
            first, second = ntsim_machine(processors=4), ntsim_machine(seed=7)
            assert first.options == {"processors": 4}
            assert type(first).closed == []

        def test_after(ntsim_machine):
            assert type(ntsim_machine()).closed == ["1-rr-7", "1-rr-0"]
        """
    )
    project.runpytest_subprocess("-p", "no:benchmark").assert_outcomes(passed=2)


def test_a_failure_ends_with_the_line_that_replays_it(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        def test_fails(ntsim_machine):
            ntsim_machine(processors=2, seed=7)
            assert False
        """
    )
    result = project.runpytest_subprocess("-p", "no:benchmark")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*- replay -*", "ntsim_machine(processors=2, schedule='1-rr-7')"], consecutive=True
    )


def test_a_bug_check_is_shown_whole_in_the_failure(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import ntsim

        def test_crashes(ntsim_machine):
            raise ntsim.BugCheck(0x4A, [0x7FFFA6AEBEA4, 2, 0, 0xFFFFF10F9E5E2B80], 1, 2)
        """
    )
    result = project.runpytest_subprocess("-p", "no:benchmark")
    result.stdout.fnmatch_lines(
        ["E *IRQL_GT_ZERO_AT_SYSTEM_SERVICE (4a): 00007fffa6aebea4, 2, 0, fffff10f9e5e2b80 *"]
    )
