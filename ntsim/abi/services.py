"""System services of Windows 10 build 19041: names in the order of their numbers.

Source: hfiref0x/SyscallTables 19041 (without what later updates added); how many arguments each
takes: the prototypes of winsiderss/phnt.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def _lines() -> list[str]:
    text = files("ntsim.abi").joinpath("data/services_19041.txt").read_text(encoding="ascii")
    return text.splitlines()


@cache
def services() -> tuple[str, ...]:
    """`services()[0x55]` is NtCreateFile."""
    return tuple(line.partition(" ")[0] for line in _lines())


@cache
def argument_counts() -> tuple[int, ...]:
    """How many arguments each takes."""
    return tuple(int(line.partition(" ")[2]) for line in _lines())


@cache
def service_numbers() -> dict[str, int]:
    """The number of each service."""
    return {name: number for number, name in enumerate(services())}
