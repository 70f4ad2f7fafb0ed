"""Every bug check that the model raises, by a driver that commits the mistake.

Source: the bug-check code reference of the WDK; where real dumps contradict it, the dumps.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ntsim.abi.bugchecks import describe, not_raised
from ntsim.abi.bugcodes import NAMES, name_of
from ntsim.errors import BugCheck

from . import ex_ob_ps, io_mm, ke, pnp_po, vf
from .case import MISTAKES, Bench, Mistake

FAMILIES = (ke, ex_ob_ps, io_mm, pnp_po, vf)
PAGE = Path(__file__).resolve().parents[3] / "docs" / "bug-checks.md"


@pytest.mark.parametrize("mistake", MISTAKES, ids=[each.name for each in MISTAKES])
def test_the_mistake_ends_in_its_bug_check(mistake: Mistake, ntsim_machine) -> None:
    bench = Bench(ntsim_machine)
    with pytest.raises(BugCheck) as caught:
        mistake.commit(bench)
    stop = caught.value
    assert f"{stop.code:#x}" == f"{mistake.code:#x}", stop
    assert bench.expected is not None, f"it stopped before it said what to expect: {stop}"
    meanings = (*describe(stop.code).case(stop.parameters).parameters, "", "", "", "")
    for number, (found, expected) in enumerate(zip(stop.parameters, bench.expected, strict=True)):
        meaning = meanings[number] or "not documented"
        assert expected == found, (
            f"parameter {number + 1} ({meaning}) is {found:#x}, not {expected}: {stop}"
        )


def test_every_code_is_raised_by_a_mistake_or_left_out_with_a_reason() -> None:
    raised, left_out = {each.code for each in MISTAKES}, not_raised()
    assert raised | set(left_out) == set(NAMES)
    assert not raised & set(left_out)


def raised_rows() -> list[str]:
    """The rows of the page's first table: code, name, the mistakes."""
    rows = []
    for code in sorted({each.code for each in MISTAKES}):
        texts = " ".join(each.text for each in MISTAKES if each.code == code)
        rows.append(f"| 0x{code:X} | {name_of(code)} | {texts} |")
    return rows


def left_out_rows() -> list[str]:
    """The rows of the second: code, name, why not."""
    return [f"| 0x{code:X} | {name_of(code)} | {why} |" for code, why in not_raised().items()]


def test_the_page_of_bug_checks_has_a_row_for_each() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| 0x")]
    wanted = [*raised_rows(), *left_out_rows()]
    missing = "\n".join(row for row in wanted if row not in rows)
    assert rows == wanted, f"docs/bug-checks.md; rows missing there:\n{missing}"
