"""A guest of ntsim whose every VM entry is repeated in Bochs.

Before each VMLAUNCH or VMRESUME the VMCS, the registers and the memory are copied; after the VM
exit Bochs runs from that copy to its own VM exit, and what the two left behind is compared: exit
information, saved guest state, general registers, CR2, memory.
"""

from dataclasses import dataclass
from typing import Any

from ntsim.abi import vmx_constants as abi
from ntsim.hw.vmx.exits import GuestExit
from ntsim.hw.vmx.fields import supported_fields, type_of
from ntsim.hw.vmx.results import Entered
from tests.differential import bochs as b
from tests.differential.defined import defined
from tests.differential.divergences import Different
from tests.differential.pair import bochs, host_fields
from tests.hw.vmx.conftest import GuestRig

_NOT_GIVEN = (abi.VMCS_TYPE_EXIT_INFO, abi.VMCS_TYPE_HOST_STATE)
_PAGE = b.PAGE
_NOT_STATE = {
    abi.VM_INSTRUCTION_ERROR,
    abi.IO_RCX,
    abi.IO_RSI,
    abi.IO_RDI,
    abi.IO_RIP,
    abi.GUEST_PREEMPTION_TIMER,
}
_MSRS = {
    "star": abi.IA32_STAR,
    "lstar": abi.IA32_LSTAR,
    "sfmask": abi.IA32_FMASK,
    "kernel_gs_base": abi.IA32_KERNEL_GS_BASE,
    "tsc_aux": abi.IA32_TSC_AUX,
}
"""MSRs that neither a VM entry nor a VM exit loads."""
COMPARED_PAGES = range(0x20_0000 // _PAGE, 0x30_0000 // _PAGE)
"""Code, data, stack, tables of the guest; what lies below are VMCSs and EPT tables."""


class Disagreement(AssertionError):
    """ntsim and Bochs left different things behind."""


@dataclass(frozen=True)
class Entry:
    """What a VM entry starts from."""

    fields: dict[int, int]
    registers: dict[str, int]
    memory: bytes


class TwinRig(GuestRig):
    """`GuestRig` that disagrees aloud; `compared` counts the entries that Bochs has repeated."""

    compared = 0
    expected: Different | None = None
    _before: Entry | None = None

    def launch(self, code: str | bytes | None = None, **gpr: int) -> GuestExit:
        """As the other; what Bochs starts from is taken when the entry is made."""
        self._watch()
        return super().launch(code, **gpr)

    def resume(self, skip: bool = True) -> GuestExit:
        """Likewise."""
        self._watch()
        return super().resume(skip)

    def _watch(self) -> None:
        if "vmlaunch" in vars(self.unit):
            return
        for name in ("vmlaunch", "vmresume"):
            setattr(self.unit, name, self._taking_notes(getattr(self.unit, name)))

    def _taking_notes(self, instruction: Any) -> Any:
        def noted() -> Any:
            before = self._entry()
            result = instruction()
            self._before = before if isinstance(result, Entered) else None
            return result

        return noted

    def _entry(self) -> Entry:
        unit, processor = self.unit, self.processor
        fields = {e: self._value(e) for e in supported_fields(self.capabilities)}
        fields = {e: v for e, v in fields.items() if type_of(e) not in _NOT_GIVEN}
        registers = {name: unit.gpr[n] for n, name in enumerate(b.GPRS)}
        registers |= {"cr2": processor.cr2, "cr8": processor.cr8, "dr6": processor.dr[6]}
        registers |= {f"dr{n}": processor.dr[n] for n in range(4)}
        registers |= {name: processor.msrs[index] for name, index in _MSRS.items()}
        del registers["rsp"]
        return Entry(fields, registers, self.ram.read(0, self.ram.size))

    def _value(self, encoding: int) -> int:
        assert self.unit.current is not None
        return self.unit.current.read(encoding)

    def go(self, steps: int = 10_000) -> GuestExit:
        """Run to the exit, then have Bochs do the same."""
        found = super().go(steps)
        before, self._before = self._before, None
        if before is not None and found.reason != abi.EXIT_REASON_TRIPLE_FAULT:
            self._compare(before)  # a triple fault ends Bochs' process
        return found

    def _compare(self, before: Entry) -> None:
        machine = bochs()
        machine.in_root_operation()
        machine.write(0, before.memory)
        refused = machine.vmwrite(before.fields | host_fields())
        assert not refused, f"Bochs does not know {refused}"
        run = machine.enter("vmlaunch", before.registers)
        registers = {name: getattr(machine.cpu, name) for name in [*b.GPRS, "cr2"]}
        theirs = machine.vmread(self._to_compare())
        ours = {encoding: self._value(encoding) for encoding in theirs}
        wrong = {
            abi.field_name(e): (hex(ours[e]), hex(theirs[e]))
            for e in theirs
            if (ours[e] ^ theirs[e]) & defined(e, ours)
        }
        for number, name in enumerate(b.GPRS):
            if name != "rsp" and self.unit.gpr[number] != registers[name]:
                wrong[name] = (hex(self.unit.gpr[number]), hex(registers[name]))
        wrong |= self._memory_differences(machine)
        unexpected = {name.split()[0] for name in wrong} - (
            self.expected.fields if self.expected else set()
        )
        if unexpected:
            raise Disagreement(f"(ntsim, Bochs): {wrong}; {run}")
        type(self).compared += 1

    def _to_compare(self) -> list[int]:
        kinds = (abi.VMCS_TYPE_EXIT_INFO, abi.VMCS_TYPE_GUEST_STATE)
        fields = [e for e in supported_fields(self.capabilities) if type_of(e) in kinds]
        return [*(e for e in fields if e not in _NOT_STATE), abi.VM_ENTRY_INTR_INFO_FIELD]

    def _memory_differences(self, machine: b.Bochs) -> dict[str, tuple[str, str]]:
        wrong = {}
        for number in COMPARED_PAGES:
            pa = number * _PAGE
            ours, theirs = self.ram.read(pa, _PAGE), machine.read(pa, _PAGE)
            if ours != theirs:
                at = next(n for n in range(0, _PAGE, 8) if ours[n : n + 8] != theirs[n : n + 8])
                wrong[f"memory {pa + at:#x}"] = (
                    ours[at : at + 8][::-1].hex(),
                    theirs[at : at + 8][::-1].hex(),
                )
        return wrong
