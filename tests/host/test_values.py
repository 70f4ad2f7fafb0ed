"""Structures by value, and what DbgPrint makes of floating-point numbers of machine code.

driver/c/values.c prints what the same C prints on Windows. Source: Microsoft, x64 calling
convention; WDK pages of the routines it calls; nt.kd.format.
"""

from pathlib import Path

from ntsim.abi import routines
from ntsim.abi.structure import Structure
from ntsim.abi.types import REGISTRY
from ntsim.nt.exports import load_rooms

VALUES = Path(__file__).parents[2] / "driver/c/values.sys"
LINES = {
    "16 bytes, by the address of a copy": [
        r"\Device\Null\rest | Device | Null\rest",
        r"Null\rest | Null | rest",
        "rest | rest | (null)",
        r"one\two\three | one | two\three",
    ],
    "4 and 8 bytes, in registers": [
        "power: 0, then 4",
        "privileges: 1 0",
        "counter: 1",
        "sum: 7ffffffeffffffff, was 7fffffff00000001",
        "no such callback: c000000d",
    ],
    "a letter for each number, and the argument still to come": [
        "[f] [3fe0000000000000]",
        "[e] [G] [55555555] [3fe0000000000000]",
        "1 2 3 4 six 3fe0000000000000",
    ],
}
BY_ADDRESS = {
    ("FsRtlDissectDbcs", "Path"),
    ("FsRtlDissectName", "Path"),
    ("FsRtlIsFatDbcsLegal", "DbcsName"),
    ("FsRtlIsHpfsDbcsLegal", "DbcsName"),
}
"""Every structure over 8 bytes that a routine of the kernel takes by value."""


def test_structures_by_value_and_floating_point_arguments(ntsim_machine) -> None:
    machine = ntsim_machine()
    machine.load_driver(VALUES)
    assert machine.debug_output == [line for block in LINES.values() for line in block]


def size_by_value(kind: str) -> int:
    """Of a structure that is passed or returned itself; 0 of everything else."""
    found = REGISTRY.get("STRING" if kind == "ANSI_STRING" else kind)
    return found.size if isinstance(found, type) and issubclass(found, Structure) else 0


def test_no_routine_returns_a_structure_by_hidden_pointer_and_four_take_one() -> None:
    load_rooms()
    every = [routines.lookup(name) for name in routines.names()]
    sizes = {(r.name, p.name): size_by_value(p.type) for r in every for p in r.parameters}
    assert {place for place, size in sizes.items() if size not in (0, 1, 2, 4, 8)} == BY_ADDRESS
    assert {size_by_value(r.returns) for r in every} <= {0, 1, 2, 4, 8}
    assert sizes["KeSetTimer", "DueTime"] == 8, "structures are known by their names"
