"""VM-entry checks: pure functions of a VMCS, the capabilities, memory and the processor's mode.

`check` says how VMLAUNCH or VMRESUME ends, `audit` lists everything that is wrong. One file holds
one of the SDM's sections; each check is a generator of violations in the SDM's order, so the first
one found is the one reported. Source: SDM 3, "VM Entries".
"""

from ntsim.hw.vmx.entry.check import audit, check
from ntsim.hw.vmx.entry.outcome import EntryFailure, EntryMode, Violation, VmFail

__all__ = ["EntryFailure", "EntryMode", "Violation", "VmFail", "audit", "check"]
