"""DDI compliance rules: IRQL contracts, and what is acquired is released.

A routine called at a level that its contract forbids is reported under the rule that Windows has
for it: 0xC4 with the rule's number, a string that says what is wrong, the level, 0. A routine
without such a rule that is called too high is reported as 0xE5 while `ddi` is on; there the more
lenient of annotation and documentation counts, and what the headers expand in the driver is left
alone (inferred). Source: WDK "DDI compliance checking" and the rules' pages; Bug Check 0xC4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ntsim.abi import routines
from ntsim.abi.irql import level_name
from ntsim.nt.exports import EXPORTS
from ntsim.nt.ke.irql import APC_LEVEL, DISPATCH_LEVEL
from ntsim.nt.vf.hooks import after, before
from ntsim.nt.vf.rule_names import IRQL_RULES

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier

WRONG_IRQL = 0xE5
OWN_CHECKS = frozenset(
    "KeRaiseIrql KfRaiseIrql KeRaiseIrqlToDpcLevel KeLowerIrql KeWaitForSingleObject"
    " KeWaitForMultipleObjects".split()
)
"""Their automatic checks say all there is to say."""

ALSO = {
    "ExAcquireFastMutex": "IrqlExApcLte1",
    "ExTryToAcquireFastMutex": "IrqlExApcLte1",
    "KeAcquireGuardedMutex": "IrqlKeApcLte1",
    "KeAcquireGuardedMutexUnsafe": "IrqlKeApcLte1",
}
"""Routines that a rule's page names and the routine's own page does not."""


def irql_check(name: str, rules: frozenset[str]) -> Callable[..., None] | None:
    """A check of a routine's contract; None if there is nothing to check."""
    if name in OWN_CHECKS:
        return None
    try:
        routine = routines.lookup(name)
    except KeyError:
        return None
    contract = routine.irql
    if contract is None or contract.when:
        return None
    listed = (*routine.rules, ALSO.get(name, ""))
    own = [rule for rule in listed if rule in IRQL_RULES]
    rule = next((each for each in own if each in rules), "")
    if not rule and (own or not rules >= IRQL_RULES):
        return None
    low, high = contract.min, contract.max
    if not rule:
        if name.startswith("Zw") or EXPORTS[name].inline:
            return None
        low = 0
        if contract.documented:
            high = _most(high, contract.documented[1])
    lowest = low if isinstance(low, int) else 0
    highest = high if isinstance(high, int) else 15
    if (lowest, highest) == (0, 15):
        return None
    return _check_of(name, rule, lowest, highest)


def _most(one: routines.Level | None, other: routines.Level) -> routines.Level:
    return max(one, other) if isinstance(one, int) and isinstance(other, int) else 15


def _check_of(name: str, rule: str, lowest: int, highest: int) -> Callable[..., None]:
    should = f"{name} should only be called at IRQL {_range(lowest, highest)}."

    def check(vf: Verifier, nt: Kernel, *arguments: Any) -> None:
        level = vf.irql
        if lowest <= level <= highest:
            return
        why = f"{name} was called at {level_name(level)}, its contract is {_range(lowest, highest)}"
        if rule:
            vi_rule(vf, rule, should, None, why=f"{why} (rule {rule}).")
        vf.violation(WRONG_IRQL, level, why=f"{why}.")

    return check


def _range(lowest: int, highest: int) -> str:
    return routines.span(lowest, highest).removeprefix("IRQL ")


def vi_rule(vf: Verifier, rule: str, text: str, state: int | None, why: str) -> None:
    """Stop for a rule: parameter 2 is the text that Windows prints, 3 points to the rule's state.

    The rules that only look at the IRQL have none: 0 in the dump of 0vercl0k/sic#4.
    """
    code = routines.verifier_rules()[rule]
    assert code is not None, rule
    vf.violation(code, vf.text(text), 0 if state is None else vf.value(state), 0, why=why)


@before("IrqlKeSetEvent", "KeSetEvent")
def vi_set_event_and_wait(vf: Verifier, nt: Kernel, Event: Any, Increment: int, Wait: int) -> None:
    """A caller that is going to wait must be allowed to."""
    highest = APC_LEVEL if Wait else DISPATCH_LEVEL
    if vf.irql > highest:
        text = "KeSetEvent should only be called at IRQL <= DISPATCH_LEVEL, or <= APC_LEVEL if "
        text += "Wait is TRUE."
        why = f"KeSetEvent was called at {level_name(vf.irql)} with Wait {bool(Wait)} (rule "
        vi_rule(vf, "IrqlKeSetEvent", text, None, why=why + "IrqlKeSetEvent).")


class Held:
    """What each thread holds, as far as rules look at it: spin locks and queue handles."""

    def __init__(self) -> None:
        self.spin: dict[int, dict[int, None]] = {}
        self.queued: dict[int, dict[int, None]] = {}


def _mine(table: dict[int, dict[int, None]], vf: Verifier) -> dict[int, None]:
    return table.setdefault(vf.nt.thread.va, {})


ACQUIRE = "KeAcquireSpinLock KeAcquireSpinLockRaiseToDpc KeAcquireSpinLockAtDpcLevel"
RELEASE = "KeReleaseSpinLock KeReleaseSpinLockFromDpcLevel"


@before("SpinLock", ACQUIRE)
def vi_spin_lock_twice(vf: Verifier, nt: Kernel, SpinLock: Any, *out: Any) -> None:
    if int(SpinLock) in _mine(vf.part(Held).spin, vf):
        text = "The driver is attempting to acquire a spin lock that it holds already."
        vi_rule(vf, "SpinLock", text, int(SpinLock), why=f"{vf.routine}: {text}")


def note_acquired(vf: Verifier, result: Any, nt: Kernel, SpinLock: Any, *out: Any) -> None:
    _mine(vf.part(Held).spin, vf)[int(SpinLock)] = None


for _rule in ("SpinLock", "SpinlockRelease"):
    after(_rule, ACQUIRE)(note_acquired)


@after("SpinLock", "KeTryToAcquireSpinLockAtDpcLevel")
def vi_spin_lock_tried(vf: Verifier, result: int, nt: Kernel, SpinLock: Any) -> None:
    if result:
        note_acquired(vf, result, nt, SpinLock)


@before("SpinlockRelease", RELEASE)
def vi_spin_lock_release(vf: Verifier, nt: Kernel, SpinLock: Any, *rest: Any) -> None:
    if int(SpinLock) not in _mine(vf.part(Held).spin, vf):
        text = "The driver is attempting to release a spin lock that it does not hold."
        vi_rule(vf, "SpinlockRelease", text, int(SpinLock), why=f"{vf.routine}: {text}")


def note_released(vf: Verifier, result: Any, nt: Kernel, SpinLock: Any, *rest: Any) -> None:
    _mine(vf.part(Held).spin, vf).pop(int(SpinLock), None)


for _rule in ("SpinLock", "SpinlockRelease"):
    after(_rule, RELEASE)(note_released)


QUEUED_ACQUIRE = "KeAcquireInStackQueuedSpinLock KeAcquireInStackQueuedSpinLockAtDpcLevel"
QUEUED_RELEASE = "KeReleaseInStackQueuedSpinLock KeReleaseInStackQueuedSpinLockFromDpcLevel"


@before("QueuedSpinLock", QUEUED_ACQUIRE)
def vi_queued_twice(vf: Verifier, nt: Kernel, SpinLock: Any, LockHandle: Any) -> None:
    if int(LockHandle) in _mine(vf.part(Held).queued, vf):
        text = "The driver is acquiring a queued spin lock with a handle that is in use."
        vi_rule(vf, "QueuedSpinLock", text, int(LockHandle), why=f"{vf.routine}: {text}")


def note_queued(vf: Verifier, result: Any, nt: Kernel, SpinLock: Any, LockHandle: Any) -> None:
    _mine(vf.part(Held).queued, vf)[int(LockHandle)] = None


@before("QueuedSpinLockRelease", QUEUED_RELEASE)
def vi_queued_release(vf: Verifier, nt: Kernel, LockHandle: Any) -> None:
    if int(LockHandle) not in _mine(vf.part(Held).queued, vf):
        text = "The driver is releasing a queued spin lock that it does not hold."
        vi_rule(vf, "QueuedSpinLockRelease", text, int(LockHandle), why=f"{vf.routine}: {text}")


def note_queued_released(vf: Verifier, result: Any, nt: Kernel, LockHandle: Any) -> None:
    _mine(vf.part(Held).queued, vf).pop(int(LockHandle), None)


for _rule in ("QueuedSpinLock", "QueuedSpinLockRelease"):
    after(_rule, QUEUED_ACQUIRE)(note_queued)
    after(_rule, QUEUED_RELEASE)(note_queued_released)


@before("GuardedRegions", "KeLeaveGuardedRegion")
def vi_leave_guarded_region(vf: Verifier, nt: Kernel) -> None:
    if nt.thread.v.SpecialApcDisable >= 0:
        text = "KeLeaveGuardedRegion should only be called after KeEnterGuardedRegion."
        vi_rule(vf, "GuardedRegions", text, 0, why=f"The thread is in no guarded region: {text}")


@before("CriticalRegions", "ExReleaseResourceAndLeaveCriticalRegion")
def vi_leave_with_resource(vf: Verifier, nt: Kernel, Resource: Any) -> None:
    if nt.thread.v.KernelApcDisable >= 0:
        text = "ExReleaseResourceAndLeaveCriticalRegion needs a critical region."
        vi_rule(vf, "CriticalRegions", text, 0, why=text)
