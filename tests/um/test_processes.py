"""What a process is: its name, arguments, streams, end; and that nothing of it leaks out."""

import sys
from pathlib import Path
from typing import Any

import pytest

import ntsim
from ntsim import Machine
from ntsim.win32 import *


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes an app file; its path."""

    def write_app(text: str, name: str = "probe.py") -> Path:
        path = tmp_path / name
        path.write_text("from ntsim.win32 import *\n" + text)
        return path

    return write_app


def test_a_file_runs_as_main_and_prints_to_its_own_stdout(machine: Machine, write: Any) -> None:
    path = write("import sys\nprint(__name__, sys.argv[1:])\nprint('bad', file=sys.stderr)\n")
    process = machine.run(path, args=("one", "two"))
    assert process.stdout == "__main__ ['one', 'two']\n"
    assert process.stderr == "bad\n"
    assert (process.exit_code, process.name) == (0, "probe.exe")


def test_a_process_can_be_named(machine: Machine, write: Any) -> None:
    assert machine.run(write(""), name="EHApp.exe").name == "EHApp.exe"
    assert machine.run(lambda: None, name="helper").name == "helper.exe"


def test_the_kernel_knows_the_process_by_that_name(machine: Machine, write: Any) -> None:
    process = machine.start(write(""), name="EHApp.exe")
    name = machine.nt.mmu.read(process.kernel.va + 0x5A8, 15)
    assert name.rstrip(b"\0") == b"EHApp.exe"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 0),
        ("import sys\nsys.exit(7)", 7),
        ("import sys\nsys.exit()", 0),
        ("exit(3)", 3),
        ("raise SystemExit(-1)", 0xFFFFFFFF),
        ("ExitProcess(9)", 9),
        ("1 / 0", 1),
        ("read_bytes(0x10, 4)", 0xC0000005),
        ("write_bytes(0xFFFFF80000000000, b'x')", 0xC0000005),
        ("from ntsim.intrin import __readmsr\n__readmsr(0x10)", 0xC0000096),
    ],
)
def test_the_end_of_an_app_is_its_exit_code(
    machine: Machine, write: Any, text: str, code: int
) -> None:
    assert machine.run(write(text)).exit_code == code


def test_sys_exit_with_text_prints_it(machine: Machine, write: Any) -> None:
    process = machine.run(write("import sys\nsys.exit('no device')"))
    assert (process.exit_code, process.stderr) == (1, "no device\n")


def test_a_callable_returns_its_exit_code(machine: Machine) -> None:
    assert machine.run(lambda: 5).exit_code == 5
    assert machine.run(lambda: None).exit_code == 0
    assert machine.run(lambda a, b: a + b, args=(2, 3)).exit_code == 5


def test_what_a_callable_prints_is_the_process_s(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    def app() -> None:
        print("inside")
        print("wrong", file=sys.stderr)

    process = machine.run(app)
    assert (process.stdout, process.stderr) == ("inside\n", "wrong\n")
    assert capsys.readouterr().out == ""


def test_a_traceback_shows_the_app_s_frames_alone(machine: Machine, write: Any) -> None:
    path = write("def main():\n    CreateFile('\\\\\\\\.\\\\No', 0, 0, None, 3, 0, None)\nmain()\n")
    stderr = machine.run(path).stderr
    assert stderr.startswith("Traceback (most recent call last):\n")
    assert f'File "{path}", line 3, in main' in stderr
    assert f'File "{path}", line 4, in <module>' in stderr
    assert "/ntsim/" not in stderr
    assert stderr.endswith(
        "error: (2, 'CreateFile', 'The system cannot find the file specified.')\n"
    )


def test_an_access_violation_says_what_and_where(machine: Machine, write: Any) -> None:
    path = write("def main():\n    read_bytes(0x10, 4)\nmain()\n")
    stderr = machine.run(path).stderr
    assert f'File "{path}", line 3, in main' in stderr
    assert "0xc0000005 (STATUS_ACCESS_VIOLATION)" in stderr


def test_an_access_violation_can_be_caught(machine: Machine, write: Any) -> None:
    text = (
        "try:\n    read_bytes(0, 1)\n"
        "except StructuredException as e:\n    print(hex(e.ExceptionCode))\n"
    )
    assert machine.run(write(text)).stdout == "0xc0000005\n"


@pytest.mark.parametrize(
    ("module", "instead"),
    [("time", "Sleep"), ("threading", "CreateThread"), ("random", "seed"), ("socket", "device")],
)
def test_modules_outside_the_simulation_are_refused_by_name(
    machine: Machine, write: Any, module: str, instead: str
) -> None:
    process = machine.run(write(f"import {module}\n"))
    assert process.exit_code == 1
    assert f"{module} works outside the simulated machine" in process.stderr
    assert instead in process.stderr


def test_input_has_no_keyboard(machine: Machine, write: Any) -> None:
    process = machine.run(write("input('name? ')"))
    assert process.exit_code == 1
    assert "EOFError: a simulated process has no keyboard" in process.stderr


def test_an_app_parses_its_own_arguments(machine: Machine, write: Any) -> None:
    text = (
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--n', type=int)\n"
        "print(p.parse_args().n)\n"
    )
    assert machine.run(write(text), args=("--n", "4")).stdout == "4\n"
    wrong = machine.run(write(text), args=("--n", "x"))
    assert wrong.exit_code == 2
    assert "invalid int value" in wrong.stderr


def test_redirecting_an_app_s_stdout_stays_in_the_app(machine: Machine, write: Any) -> None:
    text = (
        "import contextlib, io\nheld = io.StringIO()\n"
        "with contextlib.redirect_stdout(held):\n    print('held')\n"
        "print(held.getvalue().upper())\n"
    )
    before = sys.stdout
    assert machine.run(write(text)).stdout == "HELD\n\n"
    assert sys.stdout is before


def test_nothing_of_an_app_stays_in_the_host(machine: Machine, write: Any) -> None:
    write("value = 1\n", "shared_part.py")
    before = set(sys.modules), list(sys.argv)
    path = write("import shared_part, sys\nshared_part.value += 1\nprint(shared_part.value)\n")
    assert [machine.run(path).stdout for _ in range(2)] == ["2\n", "2\n"]
    assert not {m for m in sys.modules if "shared_part" in m}
    assert sys.argv == before[1]


def test_a_missing_file_is_the_caller_s_mistake(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(ntsim.ConfigurationError, match="no such"):
        machine.run(tmp_path / "absent.py")


def test_a_file_that_does_not_parse_is_the_caller_s_mistake(machine: Machine, write: Any) -> None:
    with pytest.raises(ntsim.ConfigurationError, match=r"probe\.py:2: "):
        machine.run(write("def broken(:\n"))


def test_several_apps_run_at_once(machine: Machine, write: Any) -> None:
    text = "for i in range(3):\n    print(i)\n    Sleep(10)\n"
    processes = [machine.start(write(text, f"app{n}.py")) for n in range(3)]
    machine.run_until_idle()
    assert [p.stdout for p in processes] == ["0\n1\n2\n"] * 3
    assert [p.exit_code for p in processes] == [0, 0, 0]


def test_a_process_s_handles_are_closed_when_it_ends(machine: Machine, parrot: Any) -> None:
    machine.run(lambda: parrot() and None)
    driver = next(iter(machine.nt.io.drivers.values()))
    assert driver.object.DeviceObject.ReferenceCount == 0


def test_the_memory_of_a_process_comes_back(machine: Machine) -> None:
    def app() -> None:
        write_bytes(VirtualAlloc(0, 0x10_0000, MEM_COMMIT, 4), b"x" * 0x10_0000)
        DeviceIoControl(CreateFile(r"\\.\Parrot", 0, 0, None, 3, 0, None), 0, b"", 0x10_0000)

    machine.run(lambda: None)
    machine.run_until_idle()
    frames = machine.nt.mm.frames
    before = frames.available
    for _ in range(10):
        machine.run(app)
        machine.run_until_idle()
    assert frames.available > before - 10 * 6


def test_one_process_cannot_see_another_s_memory(machine: Machine) -> None:
    found: list[Any] = []

    def first() -> None:
        address = VirtualAlloc(0x5000_0000, 0x1000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)
        write_bytes(address, b"mine")
        found.append(address)

    def second() -> None:
        with pytest.raises(StructuredException):
            read_bytes(found[0], 4)

    machine.run(first)
    assert found == [0x5000_0000]
    assert machine.run(second).exit_code == 0


def test_an_app_without_points_of_its_own_is_stopped_by_its_process_s_end(
    machine: Machine, write: Any
) -> None:
    text = (
        "def spin():\n    while True:\n        pass\n"
        "CreateThread(None, 0, spin)\nSleep(50)\nprint('main ends')\n"
    )
    process = machine.run(write(text))
    assert (process.exit_code, process.stdout) == (0, "main ends\n")


def test_an_app_that_never_ends_is_a_hang(machine: Machine, write: Any) -> None:
    with pytest.raises(ntsim.Hang, match="progress"):
        machine.run(write("while True:\n    pass\n"))


def test_an_app_that_waits_for_nothing_is_a_hang_with_its_wait(machine: Machine) -> None:
    with pytest.raises(ntsim.Hang, match=r"app\.exe thread .* waits for notification event"):
        machine.run(lambda: WaitForSingleObject(CreateEvent(None, 1, 0, None), INFINITE))


def test_closing_the_machine_ends_an_app_s_handlers_too(parrot: Any) -> None:
    log: list[str] = []

    def app() -> None:
        event = CreateEvent(None, 1, 0, None)
        try:
            WaitForSingleObject(event, INFINITE)
        finally:
            log.append("finally")
            try:
                CloseHandle(event)
            except Exception:
                log.append("swallowed")
            log.append("not reached")

    with Machine(processors=1) as m:
        m.start(app)
        with pytest.raises(ntsim.Hang):
            m.run_until_idle()
    assert log == ["finally"]


def test_an_error_in_a_handler_at_the_machine_s_end_is_nobody_s() -> None:
    def app() -> None:
        try:
            Sleep(INFINITE)
        finally:
            raise ValueError("too late")

    with Machine(processors=1) as m:
        process = m.start(app)
        m.run_for(1000)
    assert process.exit_code is None
    assert process.stderr == ""


def test_kernel_routines_are_not_for_apps(machine: Machine, write: Any) -> None:
    path = write("from ntsim.wdm import *\nprint(KeGetCurrentIrql())\n")
    process = machine.run(path)
    assert process.exit_code == 1
    assert "KeGetCurrentIrql is a routine of the kernel: an app cannot call it" in process.stderr
    assert "faces" not in process.stderr


def test_privileged_instructions_are_not_for_apps(machine: Machine, write: Any) -> None:
    process = machine.run(write("from ntsim.intrin import *\n__readmsr(0x480)\n"))
    assert process.exit_code == 0xC0000096
    assert "#GP(0): __readmsr at CPL 3" in process.stderr
