"""What can be asked of Driver Verifier: options by name, DDI compliance rules, drivers.

The bits are those of `verifier /flags`; the standard settings are Windows' 0x209BB. Source: WDK
"Selecting Driver Verifier Options", "DDI compliance checking".
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ntsim.abi import routines
from ntsim.errors import ConfigurationError
from ntsim.nt.vf.rule_names import RULES


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its flag, whether the standard settings have it, whether ntsim does."""

    name: str
    flag: int
    standard: bool
    modelled: bool
    text: str


OPTIONS: tuple[Option, ...] = (
    Option("special-pool", 0x1, True, True, "overrun, underrun and use after free at the access"),
    Option("force-irql", 0x2, True, True, "pageable memory is out whenever the IRQL is raised"),
    Option("low-resources", 0x4, False, True, "allocations fail at random, by the seed"),
    Option("pool-tracking", 0x8, True, True, "memory not freed when the driver unloads"),
    Option("io", 0x10, True, True, "IRPs: sending, completing, freeing, what routines return"),
    Option("deadlock", 0x20, True, True, "lock order, before it hangs"),
    Option("enhanced-io", 0x40, False, True, "part of io since Windows 7"),
    Option("dma", 0x80, True, True, "DMA adapters, buffers, map registers and lists"),
    Option("security", 0x100, True, True, "user-mode addresses and handles used as kernel mode"),
    Option("force-pending", 0x200, False, True, "requests to lower drivers return STATUS_PENDING"),
    Option("irp-logging", 0x400, False, True, "the last IRPs of each device"),
    Option("misc", 0x800, True, True, "memory freed or unloaded with something active in it"),
    Option("invariant-mdl-stack", 0x2000, False, True, "the buffer of a write changes"),
    Option("invariant-mdl-driver", 0x4000, False, True, "the same, after each driver"),
    Option("power-delay", 0x8000, False, False, "power framework delay fuzzing"),
    Option("port-miniport", 0x10000, False, False, "port and miniport interfaces"),
    Option("ddi", 0x20000, True, True, "DDI compliance rules"),
    Option("systematic-low-resources", 0x40000, False, True, "each call stack fails once"),
    Option("ddi-additional", 0x80000, False, False, "further DDI compliance rules"),
    Option("ndis-wifi", 0x200000, False, False, "NDIS and WIFI rules"),
    Option("delay-fuzzing", 0x800000, False, True, "others run inside synchronization calls"),
    Option("verify-start", 0, False, True, "special pool catches underruns, not overruns"),
    Option("code-integrity", 0x2000000, False, True, "executable pool and mappings"),
)  # fmt: skip
BY_NAME = {option.name: option for option in OPTIONS}
STANDARD = frozenset(o.name for o in OPTIONS if o.standard and o.modelled)


@dataclass(frozen=True, slots=True)
class Settings:
    """`options` and `rules` that are on, and the image names of verified drivers (none: all)."""

    options: frozenset[str]
    rules: frozenset[str]
    drivers: frozenset[str]

    @property
    def flags(self) -> int:
        """As `verifier /query` prints them."""
        return sum(BY_NAME[name].flag for name in self.options)


def parse(wanted: Any) -> Settings:
    """Settings from "standard", names separated by commas, or a sequence of names.

    `name.sys` restricts the verifier to that driver, `-name` takes an option or rule out again.
    ConfigurationError names what would do.
    """
    if isinstance(wanted, str):
        words: Iterable[Any] = wanted.split(",")
    elif isinstance(wanted, Iterable):
        words = wanted
    else:
        raise ConfigurationError(
            f"verifier={wanted!r}: use 'standard', or names of options and rules"
        )
    options: set[str] = set()
    rules: set[str] = set()
    drivers: set[str] = set()
    for word in words:
        if not isinstance(word, str):
            raise ConfigurationError(f"verifier: {word!r} is no name of an option or rule")
        _apply(word.strip(), options, rules, drivers)
    if not options and not rules:
        if not drivers:
            raise ConfigurationError(f"verifier={wanted!r}: nothing to verify; {_valid()}")
        _apply("standard", options, rules, drivers)
    if "verify-start" in options:
        options.add("special-pool")
    if "enhanced-io" in options:
        options.add("io")
    return Settings(frozenset(options), frozenset(rules), frozenset(drivers))


def _apply(word: str, options: set[str], rules: set[str], drivers: set[str]) -> None:
    name, out = word.removeprefix("-"), word.startswith("-")
    if name.lower().endswith(".sys"):
        drivers.add(name.lower())
        return
    if name.lower() in ("standard", "all"):
        every = {o.name for o in OPTIONS if o.modelled and "low-res" not in o.name}
        chosen = set(STANDARD) if name.lower() == "standard" else every
    elif name.lower() in BY_NAME:
        chosen = {_usable(name.lower())}
    else:
        chosen = set()
        rule = _usable_rule(name)
        (rules.discard if out else rules.add)(rule)
    if out:
        options -= chosen
    else:
        options |= chosen
    if "ddi" in chosen:
        (rules.difference_update if out else rules.update)(RULES)


def _usable(name: str) -> str:
    if not BY_NAME[name].modelled:
        raise ConfigurationError(f"verifier: option {name} is not modelled yet; {_valid()}")
    return name


def _usable_rule(name: str) -> str:
    """A rule's exact name; what is wrong with one that cannot be checked here."""
    known = routines.verifier_rules()
    exact = {rule.lower(): rule for rule in known}.get(name.lower())
    if exact in RULES:
        return exact
    if exact is not None and known[exact] is None:
        raise ConfigurationError(
            f"verifier: {exact} is a rule of Static Driver Verifier only: nothing checks it at run "
            "time"
        )
    if exact is not None:
        raise ConfigurationError(f"verifier: rule {exact} is not modelled yet")
    near = difflib.get_close_matches(name, [*BY_NAME, *RULES, "standard"], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ConfigurationError(f"verifier: {name!r} is no option and no rule: {hint}{_valid()}")


def _valid() -> str:
    names = ", ".join(o.name for o in OPTIONS if o.modelled)
    return f"use standard, {names}, or the name of a DDI compliance rule"
