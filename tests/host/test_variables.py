"""Variables, declarations and literals of a Python driver."""

from pathlib import Path
from typing import Any

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
