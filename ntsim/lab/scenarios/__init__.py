"""Scenarios: a file each, with the story, what is run, and how it should end.

`find(name)` and `all_scenarios()` are the way in. A new scenario is a module here with a
`SCENARIO`, its name in one of the `GROUPS`.
"""

import difflib
from importlib import import_module

from ntsim.errors import ConfigurationError
from ntsim.lab.scenario import Scenario

GROUPS = {
    "First steps, and the tutorial Hypervisor From Scratch": (
        "hello",
        "pnp-function",
        "dbgprint",
        "dbgprint-ihvdriver",
        "hfs-part2",
        "hfs-part3",
        "hfs-part3-no-affinity",
        "hfs-part4",
        "hfs-part5",
        "hfs-part6",
        "hfs-part7",
        "hfs-part8",
        "hfs-monitor",
    ),
    "Drivers that crashed": (
        "power-irp-lost",
        "freed-twice",
        "freed-by-someone-else",
        "freed-twice-on-error",
        "list-entry-removed-twice",
        "resource-released-by-another",
        "wait-in-dpc",
        "close-holding-a-fast-mutex",
        "critical-region-not-left",
        "pages-left-locked",
        "resource-freed-undeleted",
        "irp-not-completed",
        "user-handle-as-kernel",
        "work-item-without-device",
        "stack-size-too-small",
        "null-context-at-dispatch",
        "leaf-as-index",
        "fault-with-interrupts-off",
        "raised-the-wrong-way",
        "written-past-the-end",
        "spin-lock-for-dpc",
        "queued-lock-below-dispatch",
        "write-to-code",
        "link-left-behind",
        "unloaded-in-a-hook",
        "resource-of-a-failed-driver",
        "lock-in-dpc",
        "stack-exhausted",
        "before-the-buffer",
        "chain-half-unlocked",
        "irp-after-completion",
        "link-in-init",
        "system-call-hook",
    ),
    "Hypervisors that crashed": (
        "osr-vtx-0x4a",
        "vmexit-irql",
        "hv-vmcall-in-dpc",
        "hv-vmcall-too-early",
        "hv-rdtscp-in-guest",
        "hv-fault-in-root",
        "hv-wrong-page-tables",
        "hv-two-hypervisors",
        "hv-missing-msr",
        "hv-ept-misconfiguration",
        "hv-cr3-bit-63",
        "hv-activity-state",
        "hv-wrong-control",
        "hv-endless-violation",
        "hv-never-back",
        "hv-no-host-stack",
        "hv-stack-after-vmxoff",
    ),
}
"""Title to scenarios, in the order in which to read them."""

NAMES = tuple(name for names in GROUPS.values() for name in names)


def find(name: str) -> Scenario:
    """The scenario of this name; ConfigurationError lists what there is."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise ConfigurationError(
            f"no scenario is called {name!r}. {hint}There are {', '.join(NAMES)}. (A driver of "
            f"your own is given by its path: ./{name}.py)"
        )
    module = import_module(f"ntsim.lab.scenarios.{name.replace('-', '_')}")
    scenario: Scenario = module.SCENARIO
    return scenario


def all_scenarios() -> list[Scenario]:
    """Every scenario, in reading order."""
    return [find(name) for name in NAMES]
