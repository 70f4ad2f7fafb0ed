"""The contract of every documented kernel routine: prototype, IRQL, verifier rules.

`data/routines.json` has one line for each routine, read at the first question (about 3 ms). A
parameter is `direction type name`, `?` after the direction where NULL is allowed. IRQL limits are
the header's annotations; `documented` is the documentation's where that differs. Facts from the WDK
headers and the public DDI documentation.
"""

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ntsim.abi.irql import level_name

Level = int | str
"""A level's number, or a word: `DIRQL`, or the parameter that holds it (`NewIrql`)."""

_SCALARS = frozenset(
    "BOOLEAN BOOL LOGICAL CHAR UCHAR INT8 UINT8 SHORT USHORT INT16 UINT16 INT UINT LONG ULONG "
    "LONG32 ULONG32 LONGLONG ULONGLONG LONG64 ULONG64 INT_PTR UINT_PTR LONG_PTR ULONG_PTR "
    "DWORD_PTR SIZE_T SSIZE_T ptrdiff_t NTSTATUS KIRQL KAFFINITY KPROCESSOR_MODE ACCESS_MASK "
    "DEVICE_TYPE HANDLE REGHANDLE OHANDLE LBN VBN DEVPROPTYPE MEMORY_CACHING_TYPE "
    "TABLE_SEARCH_RESULT SECURITY_IMPERSONATION_LEVEL SID_NAME_USE".split()
)
"""Types of one value; a structure, and a LARGE_INTEGER is one, stays where the caller has it."""

_BUFFERS = frozenset(["PCHAR", "PUCHAR"])
"""Pointers to many characters, not to one."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a routine."""

    name: str
    type: str
    direction: str
    """`in`, `out` or `inout`."""
    optional: bool
    """NULL is allowed."""

    @property
    def returned(self) -> bool:
        """Whether a Python driver may leave it out and get it as a result.

        That is an `_Out_` argument, not optional, that points to a scalar, handle or pointer.
        """
        return self.direction == "out" and not self.optional and points_to_one_value(self.type)


@dataclass(frozen=True, slots=True)
class Irql:
    """At which levels a routine may be called, and what it does to the level."""

    min: Level = 0
    max: Level | None = None
    """None: no upper limit is stated, or only conditional ones."""
    when: tuple[tuple[str, Level], ...] = ()
    """(condition as the header writes it, highest level if it holds)."""
    raises_to: Level | None = None
    returns_old: bool = False
    restores: bool = False
    documented: tuple[Level, Level] | None = None
    """(lowest, highest) as the documentation says, where it differs."""

    def __str__(self) -> str:
        return "; ".join(self.clauses())

    def clauses(self) -> list[str]:
        """The limits, then what the call does to the level, each in a few words."""
        limits = [f"{span(self.min, level)} if {condition}" for condition, level in self.when]
        if len(limits) < 2:  # else the conditions cover every case
            limits.insert(0, span(self.min, self.max))
        if self.raises_to is not None:
            limits.append(f"raises to {name_of_level(self.raises_to)}")
        if self.returns_old:
            limits.append("returns the level it found")
        if self.restores:
            limits.append("restores the saved level")
        return limits


@dataclass(frozen=True, slots=True)
class Routine:
    """The contract of one routine."""

    name: str
    returns: str
    parameters: tuple[Parameter, ...]
    typed: bool
    """False for a macro of which only the parameters' names are known."""
    irql: Irql | None
    """None where nothing is stated."""
    rules: tuple[str, ...]
    """Driver Verifier and Static Driver Verifier rules that look at it."""
    macro_over: str | None
    """On x64 the name is a macro or inline function over this routine."""
    inline: bool
    """It exists in the headers only, not as an export."""
    undocumented: bool

    @property
    def prototype(self) -> str:
        """The C declaration on one line."""
        parameters = ", ".join(
            "..." if p.name == "..." else f"{p.type} {p.name}".strip() for p in self.parameters
        )
        return f"{self.returns} {self.name}({parameters or 'VOID'})".strip()


def lookup(name: str) -> Routine:
    """The contract of a routine by its exact name; KeyError if there is none."""
    return _routine(name, _table()[name])


def names() -> Sequence[str]:
    """Every known routine, in alphabetical order."""
    return list(_table())


def inline_names() -> list[str]:
    """Those that exist in the headers only, not as exports."""
    return [name for name, row in _table().items() if row.get("inline")]


def closest(name: str, count: int = 3) -> list[str]:
    """The known names most like one that is not known, whatever the case of its letters."""
    by_folded = {known.casefold(): known for known in _table()}
    folded = name.casefold()
    exact = [by_folded[folded]] if folded in by_folded else []
    near = exact or difflib.get_close_matches(folded, by_folded, n=count, cutoff=0.6)
    return [by_folded.get(found, found) for found in near]


@cache
def verifier_rules() -> dict[str, int | None]:
    """Rule -> the sub-code of 0xC4 with which Windows reports it, None for static checks only."""
    table: dict[str, str | None] = json.loads(_data("verifier_rules.json"))
    return {rule: int(code, 16) if code else None for rule, code in table.items()}


def points_to_one_value(type_name: str) -> bool:
    """Whether a C type is a pointer to a scalar, handle or pointer."""
    if type_name in _BUFFERS:
        return False
    if type_name.endswith("*"):
        target = type_name[:-1].strip()
        return target in _SCALARS or bool(re.search(r"\*$|^(struct )?L?P[A-Z]", target))
    return type_name.startswith("P") and type_name[1:] in _SCALARS


def span(low: Level, high: Level | None) -> str:
    """A range of levels as the documentation writes it: `<= APC_LEVEL`, `= DISPATCH_LEVEL`."""
    if high == 15 and not low:
        return "any level"
    if high is None:
        return f">= {name_of_level(low)}" if low else "no limit stated"
    if low == high:
        return f"= {name_of_level(low)}"
    lower = f"{name_of_level(low)} <= IRQL " if low else ""
    return f"{lower}<= {name_of_level(high)}"


def name_of_level(level: Level) -> str:
    return level if isinstance(level, str) else level_name(level)


def _routine(name: str, entry: dict[str, Any]) -> Routine:
    return Routine(
        name=name,
        returns=entry.get("returns", ""),
        parameters=tuple(_parameter(text) for text in entry.get("parameters", ()))
        or tuple(Parameter(each, "", "in", False) for each in entry.get("untyped", ())),
        typed="untyped" not in entry,
        irql=_irql(entry["irql"]) if "irql" in entry else None,
        rules=tuple(entry.get("rules", ())),
        macro_over=entry.get("macro_over"),
        inline=entry.get("inline", False),
        undocumented=entry.get("undocumented", False),
    )


def _parameter(text: str) -> Parameter:
    direction, rest = text.split(" ", 1)
    type_name, name = rest.rsplit(" ", 1)
    return Parameter(name, type_name, direction.rstrip("?"), direction.endswith("?"))


def _irql(entry: dict[str, Any]) -> Irql:
    fields = dict(entry)
    if "when" in fields:
        fields["when"] = tuple((condition, level) for condition, level in fields["when"])
    if "documented" in fields:
        fields["documented"] = tuple(fields["documented"])
    return Irql(**fields)


@cache
def _table() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = json.loads(_data("routines.json"))
    return table


def _data(name: str) -> str:
    return files("ntsim.abi").joinpath("data", name).read_text(encoding="utf-8")
