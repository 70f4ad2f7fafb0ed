"""Variables, declarations and literals of a Python driver."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ntsim.errors import BugCheck
from ntsim.wdm import *

LINKED = """
from ntsim.wdm import *

class NODE(Structure):
    Next: POINTER("NODE")
    Also: PNODE
    Number: ULONG

First, Second = NODE(), NODE()

def DriverEntry(DriverObject, RegistryPath):
    First.Next = First.Also = Second
    First.Next.Number = 7
    DbgPrint("%u %u", First.Also.Number, Second.Next == NULL)
    return STATUS_SUCCESS
"""


def test_a_structure_may_point_to_its_own_kind(ntsim_machine: Any, tmp_path: Path) -> None:
    driver = tmp_path / "linked.py"
    driver.write_text(LINKED)
    machine = ntsim_machine()
    machine.load_driver(driver)
    assert machine.debug_output == ["7 1"]


def test_a_structure_declared_in_a_routine_sees_its_neighbours(value_of: Any) -> None:
    def work() -> int:
        class PART(Structure):
            Number: ULONG

        class WHOLE(Structure):
            Head: PART
            Rest: PART * 2
            Link: "PWHOLE"

        whole = WHOLE()
        whole.Link = whole
        whole.Link.Rest[1].Number = 5
        assert sizeof(WHOLE) == 24
        return int(whole.Rest[1].Number)

    assert value_of(work) == 5


def test_the_characters_of_a_counted_string_are_reached_by_index(value_of: Any) -> None:
    def work() -> tuple[int, int]:
        wide, narrow = UNICODE_STRING("text"), STRING()
        RtlInitAnsiString(narrow, "abc")
        return wide.Buffer[1], narrow.Buffer[2]

    assert value_of(work) == (ord("e"), ord("c"))


def test_a_literal_lies_in_read_only_data(bugcheck_of: Any) -> None:
    """Retail Windows: a write to a present read-only page is 0xBE with its address."""

    def work() -> None:
        text = UNICODE_STRING("constant")
        text.Buffer[0] = ord("C")

    crash = bugcheck_of(work)
    assert crash.code == 0xBE


def test_literals_that_cross_a_page_arrive_whole(value_of: Any) -> None:
    def work() -> list[bytes]:
        strings = [UNICODE_STRING(f"{i:<700}") for i in range(40)]
        return [read_bytes(s.Buffer, s.Length) for s in strings]

    assert value_of(work) == [f"{i:<700}".encode("utf-16-le") for i in range(40)]


MODULE_LEVEL = """
from ntsim.wdm import *

Name, Event, Locks = UNICODE_STRING("text"), KEVENT(), (KSPIN_LOCK * 4)()

def DriverEntry(DriverObject, RegistryPath):
    KeInitializeEvent(Event, NotificationEvent, FALSE)
    DbgPrint("%wZ %u", Name, Locks[3])
    return STATUS_SUCCESS
"""


def imported(path: Path) -> ModuleType:
    """The module that an ordinary import of a file gives."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_driver_file_can_be_imported_and_loaded_as_a_module(
    ntsim_machine: Any, tmp_path: Path
) -> None:
    path = tmp_path / "levels.py"
    path.write_text(MODULE_LEVEL)
    machine = ntsim_machine()
    machine.load_driver(imported(path))
    assert machine.debug_output == ["text 0"]


def test_a_variable_made_where_no_machine_runs_says_so_when_it_is_used(
    ntsim_machine: Any, tmp_path: Path
) -> None:
    path = tmp_path / "levels.py"
    path.write_text(MODULE_LEVEL)
    with pytest.raises(RuntimeError, match="no machine runs"):
        imported(path).Event.Header.SignalState  # noqa: B018


def test_variables_outside_of_a_machine_are_refused_in_a_function() -> None:
    with pytest.raises(RuntimeError, match=r"[Mm]achine"):
        KEVENT()


MISTAKES = """
from ntsim.intrin import *
from ntsim.wdm import *
from ntsim.win32 import OPEN_EXISTING, CreateFile

class RECORD(Structure):
    Name: UCHAR * 4

class UNKNOWN(Structure):
    Field: "NO_SUCH_TYPE"

class NUMBER(Structure):
    Field: 5

def DriverEntry(DriverObject, RegistryPath):
    {line}
    return STATUS_SUCCESS
"""


@pytest.mark.parametrize(
    "line",
    [
        'RECORD().Name = b"too long"',
        'cast("text", PIRP)',
        'read_bytes("text", 1)',
        'write_bytes(RECORD(), "text")',
        "(UCHAR * -1)()",
        "UNKNOWN()",
        "NUMBER()",
        'UNICODE_STRING("a", "b")',
        'RECORD() + "text"',
        'ExRaiseStatus("text")',
        '__readmsr("text")',
        '__cpuid("text")',
        '__outbyte("text", 1)',
        '__vmx_vmread("text")',
        "__vmx_on(None)",
        'CreateFile("device", 0, 0, None, OPEN_EXISTING, 0, None)',
    ],
)
def test_a_wrong_operand_is_the_drivers_mistake(
    ntsim_machine: Any, tmp_path: Path, line: str
) -> None:
    """A Python error in driver code: exception 0xE0507945, not a failure of ntsim."""
    path = tmp_path / "mistaken.py"
    path.write_text(MISTAKES.format(line=line))
    machine = ntsim_machine()
    with pytest.raises(BugCheck) as caught:
        machine.load_driver(path)
    assert (caught.value.code, caught.value.parameters[0]) == (0x7E, 0xE0507945)
