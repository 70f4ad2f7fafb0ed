"""Names: comparison, wildcards, components.

`*` and `?` match as everywhere. Of the three DOS wildcards `<` is a `*` that takes the name's last
period only as its own last character, `>` one character or, at a period or the end, none, and the
quotation mark a period or the end. Source: WDK FsRtlIsNameInExpression, FsRtlDissectName,
FsRtlDoesNameContainWildCards, FsRtlAreNamesEqual; ReactOS kmtests FsRtlExpression.c,
FsRtlDissect.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi.scalars import BOOLEAN, PVOID
from ntsim.nt.exports import export
from ntsim.nt.rtl.codepage import ansi_decode
from ntsim.nt.rtl.text import read_unicode
from ntsim.nt.rtl.upcase import upcase

if TYPE_CHECKING:
    from ntsim.abi.rtl import PSTRING, PUNICODE_STRING
    from ntsim.nt.kernel import Kernel

STAR, ONE, DOS_STAR, DOS_ONE, DOS_DOT = "*", "?", "<", ">", '"'
WILD = frozenset((STAR, ONE, DOS_STAR, DOS_ONE, DOS_DOT))
BACKSLASH = 0x5C


def fsrtl_matches(expression: str, name: str) -> bool:
    """Whether the whole name matches; an empty one only the empty expression."""
    if not expression or not name:
        return not expression and not name
    last_dot = name.rfind(".")
    states = reachable(expression, {0}, "")
    for at, character in enumerate(name):
        after: set[int] = set()
        for state in reachable(expression, states, character):
            if state == len(expression):
                continue
            sign = expression[state]
            if sign == STAR or (sign == DOS_STAR and at != last_dot):
                after.add(state)
            elif sign in (DOS_STAR, ONE, character) or sign == (
                DOS_DOT if character == "." else DOS_ONE
            ):
                after.add(state + 1)
        states = after
    return len(expression) in reachable(expression, states, "", ended=True)


def reachable(expression: str, states: set[int], character: str, ended: bool = False) -> set[int]:
    """States that are reached without a character of the name, before `character` or the end."""
    found, work = set(states), list(states)
    while work:
        state = work.pop()
        if state == len(expression):
            continue
        sign = expression[state]
        skips = sign in (STAR, DOS_STAR)
        skips = skips or (sign == DOS_ONE and (ended or character == "."))
        skips = skips or (sign == DOS_DOT and ended)
        if skips and state + 1 not in found:
            found.add(state + 1)
            work.append(state + 1)
    return found


def ansi(nt: Kernel, string: Any) -> str:
    v = string._v
    return ansi_decode(nt.mmu.read(v.Buffer, v.Length)) if v.Length else ""


@export(irql="== PASSIVE")
def FsRtlIsNameInExpression(
    nt: Kernel,
    Expression: PUNICODE_STRING,
    Name: PUNICODE_STRING,
    IgnoreCase: BOOLEAN,
    UpcaseTable: PVOID,
) -> BOOLEAN:
    """Whether a name matches an expression, which with IgnoreCase must be in capitals.

    Upcasing uses the system's table whatever is passed. Source: WDK FsRtlIsNameInExpression.
    """
    name = read_unicode(nt.mmu, Name)
    return fsrtl_matches(read_unicode(nt.mmu, Expression), upcase(name) if IgnoreCase else name)


@export(irql="<= APC")
def FsRtlIsDbcsInExpression(nt: Kernel, Expression: PSTRING, Name: PSTRING) -> BOOLEAN:
    """The same for 8-bit names, as they are. Source: WDK FsRtlIsDbcsInExpression."""
    return fsrtl_matches(ansi(nt, Expression), ansi(nt, Name))


@export(irql="<= APC")
def FsRtlDoesNameContainWildCards(nt: Kernel, Name: PUNICODE_STRING) -> BOOLEAN:
    """Whether a name has a wildcard. Source: WDK FsRtlDoesNameContainWildCards."""
    return not WILD.isdisjoint(read_unicode(nt.mmu, Name))


@export(irql="<= APC")
def FsRtlDoesDbcsContainWildCards(nt: Kernel, Name: PSTRING) -> BOOLEAN:
    """The same for an 8-bit name. Source: WDK FsRtlDoesDbcsContainWildCards."""
    return not WILD.isdisjoint(ansi(nt, Name))


@export(irql="== PASSIVE")
def FsRtlAreNamesEqual(
    nt: Kernel,
    ConstantNameA: PUNICODE_STRING,
    ConstantNameB: PUNICODE_STRING,
    IgnoreCase: BOOLEAN,
    UpcaseTable: PVOID,
) -> BOOLEAN:
    """Whether two names are the same. Source: WDK FsRtlAreNamesEqual."""
    one, two = read_unicode(nt.mmu, ConstantNameA), read_unicode(nt.mmu, ConstantNameB)
    return upcase(one) == upcase(two) if IgnoreCase else one == two


def dissect(nt: Kernel, path: Any, first: Any, rest: Any, width: int) -> None:
    """First component and what follows its backslash; no buffer for what is not there."""
    v = path._v
    data = nt.mmu.read(v.Buffer, v.Length) if v.Length else b""
    units = [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]
    start = int(bool(units) and units[0] == BACKSLASH)
    end = next((i for i in range(start, len(units)) if units[i] == BACKSLASH), len(units))
    buffer, total = v.Buffer, len(units)
    for string, begin, beyond, there in (
        (first, start, end, bool(units)),
        (rest, end + 1, total, end < total),
    ):
        length = (beyond - begin) * width if there else 0
        s = string._v
        s.Buffer = buffer + begin * width if there else 0
        s.Length = s.MaximumLength = length


@export(irql="== PASSIVE")
def FsRtlDissectName(
    nt: Kernel, Path: PUNICODE_STRING, FirstName: PUNICODE_STRING, RemainingName: PUNICODE_STRING
) -> None:
    """The first component of a path and the rest, in the path's own buffer. Source: WDK.

    Path is a structure by value, which callers pass by its address.
    """
    dissect(nt, Path, FirstName, RemainingName, 2)


@export(irql="<= APC")
def FsRtlDissectDbcs(nt: Kernel, Path: PSTRING, FirstName: PSTRING, RemainingName: PSTRING) -> None:
    """The same for an 8-bit path. Source: WDK FsRtlDissectDbcs."""
    dissect(nt, Path, FirstName, RemainingName, 1)
