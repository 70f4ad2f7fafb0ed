"""What the bug checks say in words: the code, its four parameters, and the sub-codes under it.

The texts are in `data/bugchecks.json`, read once. Facts from the public driver documentation's
bug-check reference, with `dumps` where real crash dumps contradict it. Which codes ntsim does not
raise, and why, is in `data/bugchecks_not_raised.json`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ntsim.abi.bugcodes import name_of


@dataclass(frozen=True, slots=True)
class SubCode:
    """One row under a code: it applies when each parameter named has one of its values."""

    when: Mapping[int, frozenset[int]]
    """Parameter number (1 to 4) -> values."""
    text: str
    parameters: tuple[str, ...]
    """The four meanings in this case; the code's own where the row has none."""
    kinds: Mapping[int, str]
    """Parameters that hold an `irql` or a `status`, in this case."""

    def matches(self, values: Sequence[int]) -> bool:
        """Whether it applies to as many of the four values as are given, and uses one of them."""
        given = {number: values[number - 1] for number in self.when if number <= len(values)}
        return bool(given) and all(value in self.when[n] for n, value in given.items())


@dataclass(frozen=True, slots=True)
class Description:
    """A bug check in words."""

    code: int
    name: str
    text: str
    """One sentence; empty for a code that is not known."""
    parameters: tuple[str, ...]
    """Four meanings, or none where the parameters are undocumented."""
    kinds: Mapping[int, str]
    """Parameters that hold an `irql` or a `status`."""
    values: Mapping[int, Mapping[int, str]]
    """Parameters whose values have meanings of their own."""
    dumps: str
    """Where real dumps contradict the documentation."""
    subcodes: tuple[SubCode, ...]

    def matching(self, values: Sequence[int]) -> list[SubCode]:
        """The rows that apply to parameter values; some or all of the four may be given."""
        return [row for row in self.subcodes if row.matches(values)]

    def case(self, values: Sequence[int]) -> "SubCode | Description":
        """What describes these values best: the first row that applies, else the code itself."""
        return next(iter(self.matching(values)), self)


def describe(code: int) -> Description:
    """The words for a code; for one that nobody documents, empty ones."""
    entry = _entries().get(f"{code:x}", {})
    return Description(
        code=code,
        name=name_of(code),
        text=entry.get("text", ""),
        parameters=tuple(entry.get("parameters", ())),
        kinds=_kinds(entry),
        values={
            int(number): {int(value, 16): text for value, text in meanings.items()}
            for number, meanings in entry.get("values", {}).items()
        },
        dumps=entry.get("dumps", ""),
        subcodes=tuple(_subcode(row, entry) for row in entry.get("subcodes", ())),
    )


def not_raised() -> dict[int, str]:
    """The documented codes that no driver on ntsim can end in, and why."""
    return {int(code, 16): reason for code, reason in _data("bugchecks_not_raised").items()}


def _entries() -> dict[str, dict[str, Any]]:
    return _data("bugchecks")


@cache
def _data(name: str) -> dict[str, Any]:
    text = files("ntsim.abi").joinpath(f"data/{name}.json").read_text(encoding="utf-8")
    entries: dict[str, Any] = json.loads(text)
    return entries


def _kinds(entry: dict[str, Any]) -> dict[int, str]:
    return {int(number): kind for number, kind in entry.get("kinds", {}).items()}


def _subcode(row: dict[str, Any], entry: dict[str, Any]) -> SubCode:
    common = entry["parameters"]
    own = row.get("parameters", [None] * len(common))
    return SubCode(
        when={int(n): frozenset(int(v, 16) for v in values) for n, values in row["when"].items()},
        text=row["text"],
        parameters=tuple(mine or usual for mine, usual in zip(own, common, strict=True)),
        kinds=_kinds(entry) | _kinds(row),
    )
