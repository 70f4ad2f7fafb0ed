"""Facts of IRQL and of critical and guarded regions."""

from __future__ import annotations

from typing import Any

from ntsim.wdm import *

from .fact import KMTESTS, WINE, Facts, as_tests

IRQL = Facts(f"{KMTESTS}/ntos_ke/KeIrql.c")
APC = Facts(f"{KMTESTS}/ntos_ke/KeApc.c")
WINE_REGIONS = Facts(f"{WINE}/driver.c test_critical_region")

LEVELS = [
    LOW_LEVEL, APC_LEVEL, DISPATCH_LEVEL, CMCI_LEVEL, CLOCK_LEVEL, IPI_LEVEL, DRS_LEVEL,
    POWER_LEVEL, PROFILE_LEVEL, HIGH_LEVEL,
]  # fmt: skip


@IRQL.fact(lambda level: [0, level, 0], level=sorted(set(LEVELS)))
def KeRaiseIrql_returns_the_old_level_and_KeLowerIrql_goes_back(level: int) -> list[int]:
    old = KeRaiseIrql(level)
    at = KeGetCurrentIrql()
    KeLowerIrql(old)
    return [old, at, KeGetCurrentIrql()]


@IRQL.fact([0, 0])
def raising_to_the_current_level_changes_nothing() -> list[int]:
    old = KeRaiseIrql(PASSIVE_LEVEL)
    KeLowerIrql(PASSIVE_LEVEL)
    return [old, KeGetCurrentIrql()]


@IRQL.fact(list(range(16)))
def every_level_up_to_high_can_be_raised_to_in_order() -> list[int]:
    found = []
    for level in range(HIGH_LEVEL + 1):
        KeRaiseIrql(level)
        found.append(KeGetCurrentIrql())
    return found


@IRQL.fact(list(range(14, -1, -1)))
def every_level_can_be_lowered_to_in_order() -> list[int]:
    KeRaiseIrql(HIGH_LEVEL)
    found = []
    for level in range(HIGH_LEVEL - 1, -1, -1):
        KeLowerIrql(level)
        found.append(KeGetCurrentIrql())
    return found


@IRQL.fact([0, 2, 2, 2])
def KeRaiseIrqlToDpcLevel_twice_stays_at_dispatch() -> list[int]:
    first = KeRaiseIrqlToDpcLevel()
    level = KeGetCurrentIrql()
    return [first, level, KeRaiseIrqlToDpcLevel(), KeGetCurrentIrql()]


@IRQL.fact([0, 12, 12, 12])
def the_synch_level_of_a_multiprocessor_system_is_two_below_ipi() -> list[int]:
    first = KeRaiseIrqlToSynchLevel()
    level = KeGetCurrentIrql()
    return [first, level, KeRaiseIrqlToSynchLevel(), KeGetCurrentIrql()]


@IRQL.fact([1, 15])
def a_free_build_lets_KeRaiseIrql_lower_and_KeLowerIrql_raise() -> list[int]:
    KeRaiseIrql(HIGH_LEVEL)
    KeRaiseIrql(APC_LEVEL)
    lowered = KeGetCurrentIrql()
    KeLowerIrql(HIGH_LEVEL)
    return [lowered, KeGetCurrentIrql()]


# Regions: what is entered and left, and the counts and answers after each step

STEPS: dict[str, Any] = {
    "C": KeEnterCriticalRegion,
    "c": KeLeaveCriticalRegion,
    "G": KeEnterGuardedRegion,
    "g": KeLeaveGuardedRegion,
    "H": lambda: KeRaiseIrql(HIGH_LEVEL),
    "D": lambda: KeRaiseIrql(DISPATCH_LEVEL),
    "A": lambda: KeRaiseIrql(APC_LEVEL),
    "0": lambda: KeLowerIrql(PASSIVE_LEVEL),
}


def state() -> tuple[int, int, bool, bool]:
    """Kernel and special count; whether normal and all APCs are disabled."""
    thread = KeGetCurrentThread()
    counts = thread.KernelApcDisable, thread.SpecialApcDisable
    return (*counts, bool(KeAreApcsDisabled()), bool(KeAreAllApcsDisabled()))


def counted(steps: str) -> list[tuple[int, int, bool, bool]]:
    """What the counts are by the rule: regions count down, leaving counts up, IRQL nothing."""
    kernel = special = level = 0
    found = []
    for step in steps:
        kernel += {"C": -1, "c": 1}.get(step, 0)
        special += {"G": -1, "g": 1}.get(step, 0)
        level = {"H": 15, "D": 2, "A": 1, "0": 0}.get(step, level)
        found.append((kernel, special, bool(kernel or special), bool(special or level)))
    return found


@APC.fact(
    counted,
    steps=[
        "CCCccc", "GGGggg", "GCcg", "CGgc", "cC", "gG", "cgCG", "A0", "D0", "H0", "HCc0", "HGg0",
        "HCG0cg", "GHCg0c", "CHGc0g", "CHc0",
    ],
)  # fmt: skip
def regions_count_down_per_thread_and_leaving_counts_up_at_any_irql(steps: str) -> list[Any]:
    found = []
    for step in steps:
        STEPS[step]()
        found.append(state())
    return found


@APC.fact([(-1, 0, True, False), (-1, -1, True, True), (0, -1, True, True), (0, 0, False, False)])
def counts_that_a_driver_writes_count_like_regions() -> list[Any]:
    thread, found = KeGetCurrentThread(), []
    for kernel, special in ((-1, 0), (-1, -1), (0, -1), (0, 0)):
        thread.KernelApcDisable, thread.SpecialApcDisable = kernel, special
        found.append(state())
    return found


@WINE_REGIONS.fact([True, True, False])
def apcs_stay_disabled_until_the_outermost_region_is_left() -> list[bool]:
    KeEnterCriticalRegion()
    KeEnterCriticalRegion()
    found = [bool(KeAreApcsDisabled())]
    for _ in range(2):
        KeLeaveCriticalRegion()
        found.append(bool(KeAreApcsDisabled()))
    return found


test_fact = as_tests(IRQL, APC, WINE_REGIONS)
