"""The same VMCS, memory and registers for ntsim and for Bochs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ntsim.abi import vmx_constants as abi
from ntsim.hw.cpu_model import CpuModel
from ntsim.hw.vmx.capabilities import VmxCapabilities
from tests.differential import bochs as b
from tests.differential.bochs import Bochs

CAPABILITY_MSRS = range(abi.IA32_VMX_BASIC, abi.IA32_VMX_EXIT_CTLS2 + 1)
HOST_CR = {abi.HOST_CR0: b.CR0, abi.HOST_CR4: b.CR4}


@cache
def bochs() -> Bochs:
    """One for the process: the module knows one processor."""
    return Bochs()


@cache
def model() -> CpuModel:
    """A processor model of ntsim with the capability MSRs of Bochs'."""
    found = {index: bochs().rdmsr(index) for index in CAPABILITY_MSRS}
    msrs = {index: value for index, value in found.items() if value is not None}
    width = bochs().cpuid(0x8000_0008)[0] & 0xFF
    return CpuModel(name="Bochs", based_on="i7-1065G7", msrs=msrs, physical_address_bits=width)


@cache
def capabilities() -> VmxCapabilities:
    """The same, decoded."""
    return VmxCapabilities.of_model(model())


def host_fields() -> dict[int, int]:
    """A host state in which Bochs' root program stops."""
    return {
        **HOST_CR,
        abi.HOST_CR3: b._PML4,
        abi.HOST_RIP: b.HOST_STOP,
        abi.HOST_RSP: b.STACK_TOP,
        abi.HOST_CS_SELECTOR: b.CODE,
        abi.HOST_SS_SELECTOR: b.DATA,
        abi.HOST_DS_SELECTOR: b.DATA,
        abi.HOST_ES_SELECTOR: b.DATA,
        abi.HOST_FS_SELECTOR: b.DATA,
        abi.HOST_GS_SELECTOR: b.DATA,
        abi.HOST_TR_SELECTOR: b.TASK,
        abi.HOST_TR_BASE: b.HOST_TSS,
        abi.HOST_GDTR_BASE: b.HOST_GDT,
        abi.HOST_IDTR_BASE: b.HOST_IDT,
        abi.HOST_EFER: b.EFER,
        abi.HOST_PAT: b.PAT_AT_RESET,
    }


@dataclass(frozen=True)
class BochsEntry:
    """How Bochs' VM entry ended: "entered", "fail N" or "exit REASON QUALIFICATION"."""

    outcome: str
    run: b.Run


def enter_bochs(fields: Mapping[int, int]) -> BochsEntry:
    """VMLAUNCH with `fields`, in a processor out of reset, and not one guest instruction more."""
    machine = bochs()
    machine.in_root_operation()
    refused = machine.vmwrite(fields)
    assert not refused, {hex(e): how for e, how in refused.items()}
    run = machine.enter_only("vmlaunch")
    failures = [found for found in run.exits if found[0] >> 31]
    if failures:
        reason, qualification = failures[0]
        return BochsEntry(f"exit {reason & 0xFFFF} {qualification}", run)
    if run.passed:
        error = machine.vmread([abi.VM_INSTRUCTION_ERROR])[abi.VM_INSTRUCTION_ERROR]
        return BochsEntry(f"fail {error}", run)
    return BochsEntry("entered", run)
