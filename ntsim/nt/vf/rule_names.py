"""DDI compliance rules that are checked while a driver runs."""

from __future__ import annotations

IRQL_RULES = frozenset(
    "IrqlApcLte IrqlDispatch IrqlExApcLte1 IrqlExApcLte2 IrqlExApcLte3 IrqlExPassive IrqlIoApcLte "
    "IrqlIoPassive1 IrqlIoPassive2 IrqlIoPassive3 IrqlIoPassive4 IrqlIoPassive5 "
    "IrqlKeApcLte1 IrqlKeApcLte2 IrqlKeDispatchLte IrqlKeReleaseSpinLock IrqlKeSetEvent "
    "IrqlMmApcLte IrqlMmDispatch IrqlObPassive IrqlPsPassive IrqlRtlPassive IrqlZwPassive "
    "IrqlExAllocatePool".split()
)
"""A routine is called at a level that its contract does not allow."""

LOCK_RULES = frozenset(
    "CriticalRegions GuardedRegions QueuedSpinLock QueuedSpinLockRelease SpinLock SpinlockRelease "
    "IrqlReturn".split()
)
"""What is acquired is released, in the same dispatch routine."""

RULES = IRQL_RULES | LOCK_RULES
