"""Which of the documented sub-codes Driver Verifier's model can end in; the rest it never reports.

The table of docs/driver-verifier.md is made of it and of the bug-check texts; a test compares them.
"""

from __future__ import annotations

from ntsim.abi import routines
from ntsim.abi.bugchecks import Description, SubCode, describe
from ntsim.nt.vf.rule_names import RULES

AUTOMATIC_FOR_RULES = frozenset({"IrqlExAllocatePool"})
"""Rules whose violations the automatic checks report first, under sub-codes of their own."""


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(word, 16) for word in text.split())


VIOLATIONS = _numbers(
    "0 1 2 10 11 12 30 31 32 33 34 37 38 39 3A 3C 3D 3E 3F 40 41 42 62 70 73 74 75 76 77 78 79 7A "
    "7B 7C 7D 7E 7F 80 81 82 83 85 B0 B2 B3 B4 B6 B8 B9 C0 C1 C3 C5 C6 CA CB CC CD D0 D1 D2 D5 "
    "D6 D7 DA DB DC DD E0 E1 E2 E3 E4 E5 E6 EA EB F0 F5 F6 F7 FA FB 105 10B 111 11A 11B 120 121 "
    "122 123 131 "
    "1000 1001 1002 1004 1005 1007 1008 1009 100A 100B 1010 2000 2001 2002 2003 2004 2005"
)
IO_VIOLATIONS = _numbers(
    "1 2 3 4 6 7 A C D E 10 11 12 201 202 203 204 205 206 207 208 209 20A 20D 20E 20F 210 211 213 "
    "214 215 216 219 21A 21D 21E 21F 220 224 225 226 228 229 22A 22B 22D 22E 22F 230 231 232 233 "
    "234 235 236 237 239 23A 23D 23E 23F 240 241 242 243 244 245 246 247 248 24B 24D 302 306 307 "
    "310 311 312"
)
DMA_VIOLATIONS = _numbers(
    "0 3 4 5 6 7 8 9 A B C D E F 10 13 15 16 18 19 1B 1D 1E 1F 20 21 24 25"
)


def modelled(code: int) -> frozenset[int]:
    """The sub-codes of 0xC4, 0xC9 or 0xE6 that can be reported."""
    if code == 0xE6:
        return DMA_VIOLATIONS
    if code == 0xC9:
        return IO_VIOLATIONS
    codes = routines.verifier_rules()
    numbers = {codes[rule] for rule in RULES - AUTOMATIC_FOR_RULES}
    return VIOLATIONS | {number for number in numbers if number is not None}


def table(code: int) -> list[str]:
    """A Markdown table of a bug check's sub-codes, whether each is modelled and what it says."""
    known = modelled(code)
    lines = ["| parameter 1 | modelled | |", "|---|---|---|"]
    for row in rows(describe(code)):
        numbers = sorted(row.when.get(1, ()))
        shown = ", ".join(f"0x{number:X}" for number in numbers)
        mark = "yes" if known.intersection(numbers) else ""
        lines.append(f"| {shown} | {mark} | {row.text} |")
    return lines


def rows(description: Description) -> list[SubCode]:
    return [row for row in description.subcodes if 1 in row.when]
