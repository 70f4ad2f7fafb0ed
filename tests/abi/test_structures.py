"""Layouts of NT's structures against the public symbols of Windows 10 build 19041 x64."""

from pathlib import Path

import pytest

from ntsim.abi import ex, io, ke, mm, ob, ps, rtl
from ntsim.abi.structure import Structure
from ntsim.abi.types import REGISTRY, prepare

MODULES = (ex, io, ke, mm, ob, ps, rtl)

NOT_DECLARED = {
    "EPROCESS": 6,
    "ETHREAD": 2,
    "IO_STACK_LOCATION": 1,
    "HANDLE_TABLE_ENTRY": 1,
    "KPRCB": 19,
    "KTIMER_TABLE": 1,
    "KUSER_SHARED_DATA": 1,
}
"""How many fields of a structure the kernel model has no use for."""


def layouts() -> dict[str, tuple[int, list[tuple[str, int, int]]]]:
    """Structure name -> (size, [(dotted field, offset, width or 0)])."""
    made: dict[str, tuple[int, list[tuple[str, int, int]]]] = {}
    fields: list[tuple[str, int, int]] = []
    text = (Path(__file__).parent / "data" / "layouts_19041_x64.txt").read_text()
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if not line.startswith(" "):
            name, size = line.split()
            fields = []
            made[name] = (int(size, 16), fields)
            continue
        for item in line.split():
            field, _, place = item.partition("@")
            offset, _, width = place.partition(":")
            fields.append((field, int(offset, 16), int(width or "0")))
    return made


LAYOUTS = layouts()


def declared(structure: type[Structure], dotted: str) -> tuple[int, object] | None:
    """(offset, type) of a dotted field, None if it is not declared."""
    offset, kind = 0, structure
    for part in dotted.split("."):
        prepare(kind)
        found = getattr(kind, "_fields", {}).get(part)
        if found is None:
            return None
        offset, kind = offset + found[0], found[1]
    return offset, kind


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_structure_has_the_size_and_field_offsets_of_the_symbols(name: str) -> None:
    size, fields = LAYOUTS[name]
    structure = REGISTRY[name]
    prepare(structure)
    assert structure.size == size
    wrong, missing = [], 0
    for field, offset, width in fields:
        found = declared(structure, field)
        if found is None:
            missing += 1
        elif found[0] != offset or (width and getattr(found[1], "size", width) != width):
            wrong.append(f"{field} at {found[0]:#x}, {found[1]}: should be {offset:#x}:{width}")
    assert wrong == []
    assert missing == NOT_DECLARED.get(name, 0)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_view_lays_every_field_at_its_offset(name: str) -> None:
    """The generated ctypes view agrees with the field table, overlapping fields included."""
    structure = REGISTRY[name]
    prepare(structure)
    for field, (offset, kind) in structure._flat.items():
        descriptor = getattr(structure._view, field)
        assert (descriptor.offset, descriptor.size) == (offset, kind.size), field


def test_two_dozen_structures_and_more_are_compared() -> None:
    assert len(LAYOUTS) >= 40
    assert sum(len(fields) for _, fields in LAYOUTS.values()) > 1300


def test_every_structure_declares_fields_that_resolve_and_fit() -> None:
    structures = [kind for kind in REGISTRY.values() if isinstance(kind, type)]
    for structure in structures:
        prepare(structure)
        for field, (offset, kind) in structure._fields.items():
            assert offset + kind.size <= structure.size, f"{structure.__name__}.{field}"
    assert len(structures) > 100
