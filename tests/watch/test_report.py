"""The crash report as data and as text."""

import json
from pathlib import Path

import pytest

import ntsim
from ntsim.watch.eventlog import event_log, write_event_log
from ntsim.watch.report import CrashReport
from tests.watch.conftest import Crash, Write

PYTHON_ERROR = """\
def helper(values):
    return values[5]

def DriverEntry(DriverObject, RegistryPath):
    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "before\\n")
    return helper([1, 2])
"""


def test_a_python_error_is_reported_with_its_traceback(crash: Crash) -> None:
    report = crash(PYTHON_ERROR)
    assert report.code == 0x7E
    assert report.exception is not None
    assert (report.exception.code, report.exception.name) == (0xE0507945, "Python error")
    assert report.exception.traceback == (
        "bad.py:8 DriverEntry",
        "    return helper([1, 2])",
        "bad.py:4 helper",
        "    return values[5]",
        "IndexError: list index out of range",
    )
    assert report.stack[0].symbol == "helper"
    assert report.summary == (
        "IndexError: list index out of range, unhandled in a system thread, in bad.py:4 helper."
    )
    assert report.debug_output == ("before",)


def test_the_text_has_the_sections_of_analyze_in_their_order(crash: Crash) -> None:
    text = crash(PYTHON_ERROR).to_text()
    sections = (
        "Bugcheck Analysis", "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED (7e)\n", "Arguments:\nArg1: ",
        "Debugging Details:\n------------------\n", "KEY_VALUES_STRING: 1\n",
        "BUGCHECK_CODE:  7e\n", "BUGCHECK_P1: e0507945\n", "EXCEPTION_CODE: 0xe0507945 - Python",
        "EXCEPTION_RECORD:  fffff", "CONTEXT:  fffff", "PYTHON_TRACEBACK:\n",
        "PROCESS_NAME:  System\n", "STACK_TEXT:  \n", "SYMBOL_NAME:  bad!helper+",
        "MODULE_NAME: bad\n", "IMAGE_NAME:  bad.sys\n", "STACK_COMMAND:  .cxr 0x",
        "BUCKET_ID_FUNC_OFFSET:  ", "FAILURE_BUCKET_ID:  0x7E_e0507945_bad!helper\n",
        "OS_VERSION:  10.0.19041.1\n", "Followup:     MachineOwner\n---------\n", "\nWHY\n---\n",
        "PROCESSORS:\n", "DEBUG_OUTPUT:\nbefore\n", "REPLAY:  ntsim.Machine(schedule='1.rr.0.4')",
    )  # fmt: skip
    places = [text.index(section) for section in sections]
    assert places == sorted(places)
    assert text.endswith(sections[-1])


def test_stack_rows_are_as_debuggers_print_them(crash: Crash) -> None:
    rows = crash(PYTHON_ERROR).to_text().partition("STACK_TEXT:  \n")[2].split("\n\n")[0]
    first = rows.splitlines()[0]
    place, arguments, site = first.split(" : ")
    assert [len(part) for part in place.split(" ")] == [17, 17]
    assert [part[8] for part in arguments.split(" ")] == ["`"] * 4
    assert site.startswith("bad!helper+0x")
    assert site.endswith("/bad.py @ 4] ")


def test_why_fits_a_hundred_columns(crash: Crash) -> None:
    why = crash(PYTHON_ERROR).to_text().partition("\nWHY\n")[2]
    assert max(len(line) for line in why.splitlines()) <= 100


def test_json_has_numbers_as_numbers_and_comes_back(crash: Crash) -> None:
    report = crash(PYTHON_ERROR)
    text = report.model_dump_json()
    assert json.loads(text)["code"] == 0x7E
    assert json.loads(text)["stack"][0]["address"] == report.arguments[1].value
    assert CrashReport.model_validate_json(text) == report


def test_the_replay_line_may_be_the_caller_s(crash: Crash) -> None:
    report = crash(PYTHON_ERROR, seed=7)
    assert (report.seed, report.schedule) == (7, "1.random.7.4")
    assert report.to_text().endswith("REPLAY:  ntsim.Machine(schedule='1.random.7.4')")
    assert report.to_text("ntsim run bad.py").endswith("REPLAY:  ntsim run bad.py")


@pytest.mark.parametrize("seed", [0, 3])
def test_the_same_seed_twice_gives_the_same_text_and_log(
    write_driver: Write, tmp_path: Path, seed: int
) -> None:
    path = write_driver(PYTHON_ERROR)
    texts = []
    for name in ("one.log", "two.log"):
        with ntsim.Machine(seed=seed) as machine:
            with pytest.raises(ntsim.BugCheck):
                machine.load_driver(path)
            write_event_log(machine.events, tmp_path / name)
            assert (tmp_path / name).read_text() == event_log(machine.events)
            texts.append(machine.report().to_text())
    assert texts[0] == texts[1]
    assert (tmp_path / "one.log").read_bytes() == (tmp_path / "two.log").read_bytes()


def test_without_recording_the_report_says_why_there_is_no_why(crash: Crash) -> None:
    report = crash(PYTHON_ERROR, record=False)
    assert report.why[-2].text == "Nothing was recorded: build the machine with record=True."
    assert report.to_text()


def test_a_very_deep_stack_shows_its_two_ends(crash: Crash) -> None:
    report = crash(
        """\
        def down(n):
            return down(n - 1) if n else 1 // n

        def DriverEntry(DriverObject, RegistryPath):
            return down(100)
        """
    )
    assert len(report.stack) > 100
    rows = report.to_text().partition("STACK_TEXT:  \n")[2].split("\n\n")[0].splitlines()
    assert len(rows) == 61
    assert rows[30].endswith(" frames ...")


def test_a_machine_that_did_not_crash_has_no_report() -> None:
    with ntsim.Machine(processors=1) as machine:
        assert machine.report() is None
