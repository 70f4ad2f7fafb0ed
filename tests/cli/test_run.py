"""`ntsim run` with drivers of one's own: outcomes, exit statuses, JSON, bad input."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ntsim
import ntsim.lab.run
from ntsim.cli import main

HEAD = "from ntsim.wdm import *\n\n\ndef DriverEntry(DriverObject, RegistryPath):\n"
QUIET = "    return STATUS_SUCCESS"
CRASH = "    KeBugCheckEx(0xE2, 1, 2, 3, 0xFFFFF80012345678)"
SPIN = "    while True:\n        pass"

Write = Callable[..., str]


@pytest.fixture
def driver(tmp_path: Path) -> Write:
    """Writes a driver whose DriverEntry has this body; its path."""

    def write(body: str, name: str = "mine.py", head: str = HEAD) -> str:
        path = tmp_path / name
        path.write_text(f"{head}{body}\n")
        return str(path)

    return write


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status and the one object on stdout."""
    status = main(["run", *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_driver_that_loads_completes_as_expected(
    driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = driver('    DbgPrint("loaded\\n")\n' + QUIET)
    assert main(["run", path]) == 0
    out = capsys.readouterr().out
    assert out.startswith("DbgPrint: loaded\n")
    assert "As expected" in out
    assert out.endswith(f"\nREPLAY:  ntsim run {path} --schedule 1.rr.0.4\n")


def test_the_json_object_has_every_field_of_the_surface(
    driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    status, result = run_json(capsys, driver(CRASH), "--processors", "2", "--seed", "7")
    assert status == 1
    assert result == {
        "schema": 1,
        "ntsim": ntsim.__version__,
        "outcome": "bugcheck",
        "expected": False,
        "bugcheck": {
            "code": "0xe2",
            "name": "MANUALLY_INITIATED_CRASH",
            "parameters": ["0x1", "0x2", "0x3", "0xfffff80012345678"],
        },
        "error": None,
        "findings": [],
        "debug_output": [],
        "apps": [],
        "seed": 7,
        "processors": 2,
        "schedule": "1.random.7.2",
    }


@pytest.mark.parametrize("expected", ["0xe2", "e2", "MANUALLY_INITIATED_CRASH"])
def test_an_expected_bug_check_exits_0(
    driver: Write, capsys: pytest.CaptureFixture[str], expected: str
) -> None:
    status, result = run_json(capsys, driver(CRASH), "--expect", expected)
    assert (status, result["expected"], result["outcome"]) == (0, True, "bugcheck")


def test_another_bug_check_than_expected_exits_1(
    driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_json(capsys, driver(CRASH), "--expect", "0x4a")[0] == 1
    assert run_json(capsys, driver(QUIET), "--expect", "0x4a")[0] == 1


def test_a_driver_that_spins_for_ever_is_a_hang(
    driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = driver(SPIN)
    status, result = run_json(capsys, path)
    assert (status, result["outcome"], result["error"]["kind"]) == (1, "hang", "hang")
    assert main(["run", path]) == 1
    assert "mine.py:5 DriverEntry" in capsys.readouterr().out


def test_a_run_past_its_limit_is_a_hang(driver: Write, capsys: pytest.CaptureFixture[str]) -> None:
    body = "    Interval = LARGE_INTEGER()\n    Interval.QuadPart = -10000\n    while True:\n"
    path = driver(body + "        KeDelayExecutionThread(KernelMode, FALSE, Interval)")
    status, result = run_json(capsys, path, "--limit", "0.2")
    assert (status, result["outcome"]) == (1, "hang")
    assert "--limit" in result["error"]["message"]


def test_a_DriverEntry_that_fails_is_a_failed_load(
    driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    status, result = run_json(capsys, driver("    return STATUS_NO_MEMORY"))
    assert (status, result["outcome"], result["error"]["kind"]) == (1, "load_failed", "load_failed")
    assert "STATUS_NO_MEMORY" in result["error"]["message"]


def test_an_unknown_routine_is_named_with_its_line(
    driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = driver("    KeFrobnicate()")
    status, result = run_json(capsys, path)
    assert (status, result["outcome"]) == (1, "load_failed")
    assert (result["error"]["file"], result["error"]["line"]) == (path, 5)
    assert "KeFrobnicate" in result["error"]["message"]


def test_no_DriverEntry_is_a_failed_load(driver: Write, capsys: pytest.CaptureFixture[str]) -> None:
    status, result = run_json(capsys, driver("x = 1", head=""))
    assert (status, result["outcome"]) == (1, "load_failed")
    assert "DriverEntry" in result["error"]["message"]


def test_a_routine_that_is_not_modelled_is_named_where_it_is_called(
    driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = driver("    HalExamineMBR(1, 2, 3, 4)")
    status, result = run_json(capsys, path)
    assert (status, result["outcome"]) == (1, "unmodelled")
    assert "HalExamineMBR" in result["error"]["message"]
    assert (result["error"]["file"], result["error"]["line"]) == (path, 5)


def test_a_python_error_in_a_driver_is_a_bug_check_with_its_line(
    driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = driver("    return None + 1")
    status, result = run_json(capsys, path)
    assert (status, result["bugcheck"]["code"]) == (1, "0x7e")
    assert result["bugcheck"]["parameters"][0] == "0xe0507945"
    assert (result["error"]["kind"], result["error"]["line"]) == ("python", 5)


def test_sys_exit_in_a_driver_ends_the_simulated_system_only(
    driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = driver("    import sys\n    sys.exit(5)")
    status, result = run_json(capsys, path)
    assert (status, result["outcome"], result["error"]["line"]) == (1, "bugcheck", 6)
    assert result["error"]["message"] == "SystemExit: 5"


def test_a_DriverEntry_with_other_parameters_is_the_drivers_mistake(
    driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = driver("def DriverEntry(DriverObject):\n    return 0", head="")
    status, result = run_json(capsys, path)
    assert (status, result["outcome"]) == (1, "bugcheck")
    assert "takes 1 positional argument" in result["error"]["message"]


def test_what_a_driver_prints_does_not_spoil_the_object(
    driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["run", driver('    print("not DbgPrint")\n' + QUIET), "--json"])
    captured = capsys.readouterr()
    assert (status, json.loads(captured.out)["outcome"]) == (0, "completed")
    assert captured.err == "not DbgPrint\n"


def test_ntsims_own_failure_is_3_and_still_an_object(
    driver: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("processor 1: IRQL 99")

    monkeypatch.setattr(ntsim.lab.run, "_execute", fail)
    path = driver(QUIET)
    assert main(["run", path, "--json"]) == 3
    captured = capsys.readouterr()
    error = json.loads(captured.out)["error"]
    assert (error["kind"], error["message"]) == ("internal", "AssertionError: processor 1: IRQL 99")
    assert "Traceback" in captured.err
    assert "mistake in ntsim" in captured.err


def test_no_machine_at_all_is_3_and_still_an_object(
    driver: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise AssertionError("no RAM")

    monkeypatch.setattr(ntsim.lab.run, "Machine", fail)
    assert main(["run", driver(QUIET), "--json"]) == 3
    result = json.loads(capsys.readouterr().out)
    assert (result["outcome"], result["error"]["kind"]) == ("interrupted", "internal")


def test_events_go_to_a_file_one_a_line(driver: Write, tmp_path: Path) -> None:
    file = tmp_path / "events.log"
    assert main(["run", driver(QUIET), "--events", str(file)]) == 0
    lines = file.read_text().splitlines()
    assert any("DriverEntry of mine.sys returned STATUS_SUCCESS" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch.py"], "nosuch.py: no such file"),
        (["./nosuch"], "no such file"),
        (["mine.sys"], "mine.sys: no such file"),
        (["{not_pe}"], "does not begin with MZ"),
        (["nosuchscenario"], "no scenario is called 'nosuchscenario'"),
        (["osr-vtx"], "Did you mean osr-vtx-0x4a?"),
        (["{quiet}", "--fixed"], "--fixed is for scenarios"),
        (["{quiet}", "app.py"], "given with --app"),
        (["{quiet}", "--app", "nosuch_app.py"], "nosuch_app.py: no such file"),
        (["{quiet}", "--app", "{broken}"], "broken.py:1: "),
        (["{broken}"], "broken.py:1: "),
        (["{imports_broken}"], "broken.py:1: "),
        (["{quiet}", "--", "x"], "'x' after -- is for an app"),
        (["{quiet}", "--processors", "65"], "65"),
        (["{quiet}", "--seed", "-1"], "-1"),
        (["{quiet}", "--strategy", "best"], "'rr' or 'random'"),
        (["{quiet}", "--schedule", "1.rr"], "malformed"),
        (["{quiet}", "--schedule", "1.rr.0.2", "--processors", "4"], "leave --processors out"),
        (["{quiet}", "--schedule", "1.rr.0.2", "--seed", "1"], "leave --seed out"),
        (["{quiet}", "--verifier", "specialpool"], "did you mean special-pool?"),
        (["{quiet}", "--expect", "failure"], "use completed, or a bug check"),
        (["{quiet}", "--limit", "0"], "0"),
        (["{quiet}", "--events", "/nosuch/folder/file"], "/nosuch/folder/file"),
        (["hfs-part3", "--fixed"], "no fixed variant"),
        (["hello", "--app", "{quiet}"], "brings its own app"),
        (["."], "no scenario"),
        (["./"], "is a folder"),
    ],
)
def test_what_cannot_be_run_exits_2_and_says_why(
    arguments: list[str], message: str, driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {
        "quiet": driver(QUIET),
        "broken": driver("def f(:", "broken.py", head=""),
        "imports_broken": driver("import broken", "imports_broken.py", head=""),
        "not_pe": driver("text", "not_pe.sys", head=""),
    }
    assert main(["run", *(each.format(**paths) for each in arguments)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_exit_2_prints_no_object(driver: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nosuch.py", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_a_bug_check_is_reported_whole_and_ends_with_the_line_that_replays_it(
    driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = driver(CRASH)
    assert main(["run", path, "--seed", "2"]) == 1
    out = capsys.readouterr().out
    for part in ("MANUALLY_INITIATED_CRASH (e2)", "STACK_TEXT:", "\nWHY\n", "\nNOT as expected"):
        assert part in out
    assert out.count("REPLAY:") == 1
    assert out.endswith(f"\nREPLAY:  ntsim run {path} --schedule 1.random.2.4\n")


def test_another_processor_model_is_the_one_that_the_driver_meets(
    driver: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    body = '    DbgPrint("revision %x\\n", __readmsr(0x480) & 0x7FFFFFFF)\n' + QUIET
    path = driver(body, head="from ntsim.intrin import *\n" + HEAD)
    assert main(["run", path, "--cpu", "xeon-w3670"]) == 0
    out = capsys.readouterr().out
    assert "revision f" in out
    assert out.endswith("--schedule 1.rr.0.4 --cpu xeon-w3670\n")
    assert main(["run", path]) == 0
    assert "revision 4" in capsys.readouterr().out
    assert main(["run", path, "--cpu", "486"]) == 2
    assert "no CPU model is called '486'" in capsys.readouterr().err
