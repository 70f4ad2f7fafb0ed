"""What docs/driver-verifier.md says is modelled is what the code can report."""

import re
from pathlib import Path

import pytest

import ntsim
from ntsim.abi import routines
from ntsim.nt.exports import EXPORTS, load_rooms
from ntsim.nt.vf import coverage
from ntsim.nt.vf.rule_names import IRQL_RULES, RULES
from ntsim.nt.vf.rules import ALSO, irql_check

ROOT = Path(ntsim.__file__).parents[1]
PAGE = ROOT / "docs/driver-verifier.md"
ROOM = ROOT / "ntsim/nt/vf"


@pytest.mark.parametrize("code", [0xC4, 0xC9, 0xE6])
def test_the_table_of_the_documentation_is_the_one_that_the_data_makes(code: int) -> None:
    """If it differs, put what this prints between the two marks."""
    made = "\n".join(coverage.table(code))
    start, end = f"<!-- sub-codes of {code:#x} -->\n", f"\n<!-- end of {code:#x} -->"
    text = PAGE.read_text()
    assert start in text and end in text
    shown = text.split(start)[1].split(end)[0]
    assert shown == made, made


@pytest.mark.parametrize("code", [0xC4, 0xC9, 0xE6])
def test_every_sub_code_that_is_modelled_is_documented(code: int) -> None:
    known = {n for row in coverage.rows(coverage.describe(code)) for n in row.when[1]}
    assert coverage.modelled(code) <= known


def literals() -> set[int]:
    sources = [path for path in ROOM.glob("*.py") if path.name != "coverage.py"]
    words = re.findall(r"\b0x([0-9A-F]+)\b", "\n".join(path.read_text() for path in sources))
    return {int(word, 16) for word in words}


def test_every_sub_code_that_is_modelled_stands_in_a_check() -> None:
    assert literals() >= coverage.VIOLATIONS | coverage.IO_VIOLATIONS | coverage.DMA_VIOLATIONS


def test_every_rule_has_a_sub_code() -> None:
    codes = routines.verifier_rules()
    assert all(codes[rule] for rule in RULES)


def test_irql_rules_look_at_routines_that_are_modelled() -> None:
    load_rooms()
    checked = set()
    for name in EXPORTS:
        if name in routines.names() and irql_check(name, RULES) is not None:
            checked |= {*routines.lookup(name).rules, ALSO.get(name, "")} & IRQL_RULES
    conditional = {"IrqlKeSetEvent", "IrqlExAllocatePool"}
    waiting_for_routines = {
        "IrqlApcLte", "IrqlIoPassive2", "IrqlRtlPassive", "IrqlExPassive", "IrqlMmApcLte"
    }  # fmt: skip
    assert IRQL_RULES - checked - waiting_for_routines - conditional == set()
