"""What WHY says of a real crash is its cause, not only where it was noticed."""

import pytest

from ntsim.lab.run import Options, run
from ntsim.lab.scenarios import find
from ntsim.watch.report import crash_report

CAUSES = {
    "fault-with-interrupts-off": "interrupts were off since CLI",
    "raised-the-wrong-way": "KeRaiseIrqlToDpcLevel was called at IPI_LEVEL: it would lower",
    "written-past-the-end": "Bytes after the end of the 615-byte block",
    "spin-lock-for-dpc": "ExpireEntries spins for a lock that the same processor holds",
    "write-to-code": "A write to memory that is read-only",
    "unloaded-in-a-hook": "Hook+0xc in unloaded_in_a_hook.sys, which has been unloaded",
    "resource-of-a-failed-driver": "Another.sys is gone without ExDeleteResourceLite",
    "lock-in-dpc": "RemoveClient ran as a DPC, at DISPATCH_LEVEL",
    "stack-exhausted": "The kernel stack was used up: LookAtName is on it 24 times",
    "before-the-buffer": "The bytes right before a pool block were written",
    "chain-half-unlocked": "Lock has no MmUnlockPages",
    "irp-after-completion": "A pool block was used after it was freed",
    "link-in-init": "the INIT section of link_in_init.sys, gone since DriverEntry returned",
    "system-call-hook": "The table of system services at nt!KiServiceTable+0x98 (NtOpenProcess)",
    "hv-never-back": "Processor 0 does not answer: interrupts are off after a VM exit",
    "hv-no-host-stack": "a VM exit loaded RSP with a HOST_RSP that is no stack",
    "hv-stack-after-vmxoff": "RSP points to none after VMXOFF",
}


@pytest.mark.parametrize("name", CAUSES)
def test_the_cause_is_told(name: str) -> None:
    with run(find(name).target(), Options()) as made:
        report = crash_report(made.machine.nt, made.machine.schedule)
    assert CAUSES[name] in " ".join(report.summary.split())
