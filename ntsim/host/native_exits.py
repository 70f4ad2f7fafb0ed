"""What stops the engine in a driver's compiled code: privileged instructions and faults.

Each does on the processor what the instruction does, through the same paths as the intrinsics of
Python drivers; a fault raises in the running code or ends in a bug check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from ntsim.abi import ntstatus
from ntsim.abi.vmx_constants import VECTOR_VE
from ntsim.errors import UnmodelledInstruction, UnmodelledRoutine
from ntsim.host import division, stacks
from ntsim.host.abi_x64 import (
    MASK,
    RAX,
    RBX,
    RCX,
    RDI,
    RDX,
    RFLAGS,
    RIP,
    RSI,
    RSP,
    Activation,
)
from ntsim.host.gates import SYSTEM_SERVICE, Trap
from ntsim.hw.cpu import (
    CR4_OSXSAVE,
    IA32_EFER,
    IA32_FS_BASE,
    IA32_GS_BASE,
    IA32_KERNEL_GS_BASE,
    Processor,
)
from ntsim.hw.engine import Exit
from ntsim.hw.engine import ExitKind as K
from ntsim.hw.exceptions import MNEMONICS, general_protection
from ntsim.hw.vmx.exits import GuestExit
from ntsim.hw.vmx.results import ENTERED, Entered, VmSucceed, flags_after
from ntsim.nt.events import SystemRegisterLoaded
from ntsim.nt.ki.fault import ki_raise, ki_virtualization_exception
from ntsim.nt.ki.integrity import MSRS

if TYPE_CHECKING:
    from ntsim.host.native import NativeCode

_LOW = 0xFFFF_FFFF
_OF_THE_WORLD = frozenset({IA32_EFER, IA32_FS_BASE, IA32_GS_BASE, IA32_KERNEL_GS_BASE})
_EVERYWHERE = MASK
_DEBUG_SERVICE = 0x2D
_INTERRUPTS_BREAK = 1
"""The one extension of MWAIT that CPUID leaf 5 has: an interrupt ends it though they are off."""

_CR0_PE, _CR0_TS, _CR0_LOW = 1, 8, 0xF
_DIRECTION = 1 << 10
_SERVICES_PASSED_OVER = (1, 3, 4, 5)
"""BREAKPOINT_PRINT, LOAD_SYMBOLS, UNLOAD_SYMBOLS, COMMAND_STRING."""
_STATUS_OF_VECTOR = {
    0: ntstatus.STATUS_INTEGER_DIVIDE_BY_ZERO,
    1: ntstatus.STATUS_SINGLE_STEP,
    3: ntstatus.STATUS_BREAKPOINT,
    4: ntstatus.STATUS_INTEGER_OVERFLOW,
    6: ntstatus.STATUS_ILLEGAL_INSTRUCTION,
}


def _refuse(why: str) -> NoReturn:
    raise general_protection(why)


class Exits:
    """Handlers by kind of exit; each leaves RIP where the code goes on."""

    def __init__(self, code: NativeCode) -> None:
        self.code, self.nt = code, code.nt
        self.handlers: dict[K, Callable[[Activation, Exit], None]] = {
            K.CPUID: self._cpuid,
            K.RDMSR: self._rdmsr,
            K.WRMSR: self._wrmsr,
            K.CR_READ: self._cr_read,
            K.CR_WRITE: self._cr_write,
            K.DR_READ: self._dr_read,
            K.DR_WRITE: self._dr_write,
            K.RDTSC: self._rdtsc,
            K.RDTSCP: self._rdtsc,
            K.RDPMC: self._rdpmc,
            K.PAUSE: self._pause,
            K.HLT: self._hlt,
            K.MONITOR: self._monitor,
            K.MWAIT: self._mwait,
            K.IO: self._io,
            K.INVLPG: self._invlpg,
            K.INVPCID: self._invpcid,
            K.INVD: self._skip,
            K.WBINVD: self._skip,
            K.DESCRIPTOR_TABLE: self._descriptor_table,
            K.VMX_INSTRUCTION: self._vmx,
            K.SYSRET: self._sysret,
            K.XGETBV: self._extended_control,
            K.XSETBV: self._extended_control,
            K.EXCEPTION: self._exception,
            K.SOFTWARE_INTERRUPT: self._software_interrupt,
            K.NO_MEMORY: self._no_memory,
        }

    def handle(self, activation: Activation, exit_: Exit) -> None:
        """Do what the instruction does, or raise what it raises."""
        handler = self.handlers.get(exit_.kind)
        if handler is None:
            self._undefined(exit_, f"{exit_.mnemonic.upper()} is not executed here")
        else:
            handler(activation, exit_)

    # Small instructions

    def _skip(self, activation: Activation, exit_: Exit) -> None:
        activation.words[RIP] = exit_.rip + exit_.instruction_length

    def _set_pair(self, words: Any, value: int) -> None:
        words[RAX], words[RDX] = value & _LOW, value >> 32 & _LOW

    def _cpuid(self, activation: Activation, exit_: Exit) -> None:
        words = activation.words
        leaves = self.nt.il.current.cpuid(words[RAX] & _LOW, words[RCX] & _LOW)
        words[RAX], words[RBX], words[RCX], words[RDX] = leaves
        self._skip(activation, exit_)

    def _rdtsc(self, activation: Activation, exit_: Exit) -> None:
        words, nt = activation.words, self.nt
        self._set_pair(words, nt.clock.tsc_at(nt.il.now))
        if exit_.kind is K.RDTSCP:
            words[RCX] = nt.il.current.number
        self._skip(activation, exit_)

    def _rdpmc(self, activation: Activation, exit_: Exit) -> None:
        nt, words = self.nt, activation.words
        counter = words[RCX] & _LOW
        self._set_pair(words, nt.ki.processor_operation(nt.il.current.rdpmc, counter))
        self._skip(activation, exit_)

    def _pause(self, activation: Activation, exit_: Exit) -> None:
        self._skip(activation, exit_)
        self.nt.il.spin()

    def _hlt(self, activation: Activation, exit_: Exit) -> None:
        activation.words[RIP] = exit_.rip + 1
        self.nt.il.rest()

    def _monitor(self, activation: Activation, exit_: Exit) -> None:
        """The byte at RAX is read; ECX has no extensions to ask for (SDM 2, MONITOR)."""
        nt, words = self.nt, activation.words
        if words[RCX] & _LOW:
            extensions = words[RCX] & _LOW
            nt.ki.processor_operation(_refuse, f"MONITOR: there are no extensions {extensions:#x}")
        nt.mmu.read(words[RAX], 1)
        nt.ki.processor_operation(nt.il.current.monitor, words[RAX])
        self._skip(activation, exit_)

    def _mwait(self, activation: Activation, exit_: Exit) -> None:
        """Ends at once, as it may: others have a turn, as after PAUSE."""
        nt, extensions = self.nt, activation.words[RCX] & _LOW
        if extensions & ~_INTERRUPTS_BREAK:
            nt.ki.processor_operation(_refuse, f"MWAIT: there are no extensions {extensions:#x}")
        nt.ki.processor_operation(nt.il.current.mwait)
        self._skip(activation, exit_)
        nt.il.spin()

    def _invlpg(self, activation: Activation, exit_: Exit) -> None:
        self.nt.mmu.notice(exit_.operand_address())
        self._skip(activation, exit_)

    def _invpcid(self, activation: Activation, exit_: Exit) -> None:
        nt, instruction = self.nt, exit_.instruction
        assert instruction is not None
        data = nt.mmu.read(exit_.operand_address(), 16)
        low, address = (int.from_bytes(data[i : i + 8], "little") for i in (0, 8))
        kind = activation.words[instruction.register]
        nt.ki.processor_operation(nt.il.current.invpcid, kind, low, address)
        self.code.flush_translations()
        self._skip(activation, exit_)

    # Registers

    def _rdmsr(self, activation: Activation, exit_: Exit) -> None:
        nt, words = self.nt, activation.words
        processor = nt.il.current
        if words[RCX] & _LOW in _OF_THE_WORLD:
            self.code.store_world(processor)
        value = nt.ki.processor_operation(processor.rdmsr, words[RCX] & _LOW)
        self._set_pair(words, value)
        self._skip(activation, exit_)

    def _wrmsr(self, activation: Activation, exit_: Exit) -> None:
        nt, words = self.nt, activation.words
        processor, index = nt.il.current, words[RCX] & _LOW
        value = words[RAX] & _LOW | (words[RDX] & _LOW) << 32
        nt.ki.processor_operation(processor.wrmsr, index, value)
        if index in MSRS:
            nt.emit_at(SystemRegisterLoaded, MSRS[index], value)
            nt.touched()
        if index in _OF_THE_WORLD:
            self.code.forget_world(processor)
        self._skip(activation, exit_)

    def _cr_read(self, activation: Activation, exit_: Exit) -> None:
        processor = self.nt.il.current
        value = self.nt.ki.processor_operation(processor.mov_from_cr, exit_.number)
        if exit_.mnemonic == "smsw":
            self._store_number(activation, exit_, value)
        else:
            activation.words[exit_.gpr] = value
        self._skip(activation, exit_)

    def _cr_write(self, activation: Activation, exit_: Exit) -> None:
        if exit_.mnemonic in ("clts", "lmsw"):
            value = self._machine_status(activation, exit_)
        else:
            value = activation.words[exit_.gpr]
        if exit_.number == 8:  # interrupts are taken behind the instruction
            self._skip(activation, exit_)
            self.nt.write_control_register(8, value)
            return
        self.nt.write_control_register(exit_.number, value)
        if exit_.number == 3:
            self.code.flush_translations()
        else:
            self.code.forget_world(self.nt.il.current)
        self._skip(activation, exit_)

    def _machine_status(self, activation: Activation, exit_: Exit) -> int:
        """CR0 after CLTS or LMSW, which sets PE but cannot clear it (SDM 2, LMSW)."""
        cr0 = self.nt.il.current.cr0
        if exit_.mnemonic == "clts":
            return cr0 & ~_CR0_TS
        given = self._load_number(activation, exit_)
        return cr0 & ~(_CR0_LOW & ~_CR0_PE) | given & _CR0_LOW

    def _load_number(self, activation: Activation, exit_: Exit) -> int:
        """The 16-bit operand of LMSW, LLDT and LTR."""
        instruction = exit_.instruction
        assert instruction is not None
        if instruction.memory is not None:
            return int.from_bytes(self.nt.mmu.read(exit_.operand_address(), 2), "little")
        assert instruction.rm is not None
        return int(activation.words[instruction.rm] & 0xFFFF)

    def _dr_read(self, activation: Activation, exit_: Exit) -> None:
        nt = self.nt
        value = nt.ki.processor_operation(nt.il.current.mov_from_dr, exit_.number)
        activation.words[exit_.gpr] = value
        self._skip(activation, exit_)

    def _dr_write(self, activation: Activation, exit_: Exit) -> None:
        nt, value = self.nt, activation.words[exit_.gpr]
        nt.ki.processor_operation(nt.il.current.mov_to_dr, exit_.number, value)
        self._skip(activation, exit_)

    def _descriptor_table(self, activation: Activation, exit_: Exit) -> None:
        """SGDT, SIDT, LGDT, LIDT, SLDT, STR, LLDT and LTR."""
        name, processor = exit_.mnemonic, self.nt.il.current
        if name in ("sgdt", "sidt"):
            table = processor.gdtr if name == "sgdt" else processor.idtr
            data = (table.limit & 0xFFFF).to_bytes(2, "little") + table.base.to_bytes(8, "little")
            self.nt.mmu.write(exit_.operand_address(), data)
        elif name in ("lgdt", "lidt"):
            data = self.nt.mmu.read(exit_.operand_address(), 10)
            table = processor.gdtr if name == "lgdt" else processor.idtr
            table.limit = int.from_bytes(data[:2], "little")
            table.base = int.from_bytes(data[2:], "little")
            self.nt.emit_at(SystemRegisterLoaded, f"{name[1:].upper()}R", table.base)
        elif name in ("str", "sldt"):
            segment = processor.tr if name == "str" else processor.ldtr
            self._store_number(activation, exit_, segment.selector)
        else:
            self._load_selector(processor, name, self._load_number(activation, exit_))
        self._skip(activation, exit_)

    def _load_selector(self, processor: Processor, name: str, selector: int) -> None:
        """LLDT and LTR: the descriptor out of the GDT; LTR marks it busy (SDM 2, LTR)."""
        nt, segment = self.nt, processor.tr if name == "ltr" else processor.ldtr
        if not selector & ~3 and name == "lldt":
            segment.selector, segment.access_rights = selector, segment.UNUSABLE
            return
        place = processor.gdtr.base + (selector & ~7)
        data = nt.mmu.read(place, 16) if selector & 4 == 0 else bytes(16)
        kind, wanted = data[5] & 0x1F, 9 if name == "ltr" else 2
        outside = (selector & ~7) + 15 > (processor.gdtr.limit & 0xFFFF)
        if not selector & ~3 or selector & 4 or outside or kind != wanted:
            what = f"{name.upper()}: selector {selector:#x} is of no available descriptor"
            ki_raise(nt, ntstatus.STATUS_PRIVILEGED_INSTRUCTION, (), what)
        if name == "ltr":
            nt.mmu.write(place + 5, bytes((data[5] | 2,)))
        rights = data[5] | (data[6] & 0xF0) << 8 | (2 if name == "ltr" else 0)
        limit = int.from_bytes(data[0:2], "little") | (data[6] & 0xF) << 16
        segment.limit = limit << 12 | 0xFFF if data[6] & 0x80 else limit
        base = data[2:5] + data[7:12]
        segment.selector, segment.access_rights = selector, rights
        segment.base = int.from_bytes(base, "little")
        self.code.forget_world(processor)

    def _store_number(self, activation: Activation, exit_: Exit, value: int) -> None:
        """STR, SLDT, SMSW: 16 bits to memory; to a register as many as the operand has."""
        instruction = exit_.instruction
        assert instruction is not None
        if instruction.memory is not None:
            self.nt.mmu.write(exit_.operand_address(), (value & 0xFFFF).to_bytes(2, "little"))
            return
        assert instruction.rm is not None
        words, mask = activation.words, 0xFFFF
        if instruction.operand_size == 2:
            value = words[instruction.rm] & ~mask | value & mask
        elif instruction.operand_size == 4:
            value &= _LOW
        words[instruction.rm] = value

    # Ports

    def _io(self, activation: Activation, exit_: Exit) -> None:
        if exit_.mnemonic in ("ins", "outs"):
            self._string_io(activation, exit_)
            return
        words, processor = activation.words, self.nt.il.current
        mask = (1 << 8 * exit_.size) - 1
        if exit_.is_write:
            processor.port_out(exit_.port, exit_.size, words[RAX] & mask)
        else:
            value = processor.port_in(exit_.port, exit_.size)
            kept = words[RAX] & ~mask if exit_.size < 4 else 0
            words[RAX] = kept | value & mask
        self._skip(activation, exit_)

    def _string_io(self, activation: Activation, exit_: Exit) -> None:
        """One element of INS or OUTS; a repeated one stays at the instruction until RCX is 0."""
        words, processor, instruction = activation.words, self.nt.il.current, exit_.instruction
        assert instruction is not None
        size, back = exit_.size, words[RFLAGS] & _DIRECTION
        if instruction.repeated and not words[RCX]:
            self._skip(activation, exit_)
            return
        if exit_.is_write:
            data = self.nt.mmu.read(words[RSI], size)
            processor.port_out(exit_.port, size, int.from_bytes(data, "little"))
        else:
            value = processor.port_in(exit_.port, size) & (1 << 8 * size) - 1
            self.nt.mmu.write(words[RDI], value.to_bytes(size, "little"))
        register = RSI if exit_.is_write else RDI
        words[register] = words[register] - size if back else words[register] + size
        if instruction.repeated:
            words[RCX] -= 1
        if not instruction.repeated or not words[RCX]:
            self._skip(activation, exit_)

    # VT-x

    def _vmx(self, activation: Activation, exit_: Exit) -> None:
        name = exit_.mnemonic
        if name in ("vmlaunch", "vmresume"):
            self._enter_guest(activation, exit_, name)
            return
        processor = self.nt.il.current
        method: Callable[..., Any] | None = getattr(processor.vmx, name, None)
        if method is None:
            self._undefined(exit_, f"{name.upper()} is not executed here")
        processor.rflags = activation.words[RFLAGS]
        result = self.nt.ki.processor_operation(method, *self._vmx_operands(activation, exit_))
        if isinstance(result, VmSucceed) and name in ("vmread", "vmptrst"):
            self._store_operand(activation, exit_, result.value)
        words = activation.words
        words[RFLAGS] = flags_after(words[RFLAGS], result)
        self._skip(activation, exit_)

    def _vmx_operands(self, activation: Activation, exit_: Exit) -> tuple[int, ...]:
        """What the unit's method takes, read from memory and registers."""
        name, instruction, words = exit_.mnemonic, exit_.instruction, activation.words
        assert instruction is not None
        if name in ("vmxoff", "vmcall", "vmptrst", "vmfunc"):
            return ()
        if name == "vmread":
            return (words[instruction.register],)
        if name in ("invept", "invvpid"):
            data = self.nt.mmu.read(exit_.operand_address(), 16)
            low, high = (int.from_bytes(data[i : i + 8], "little") for i in (0, 8))
            return words[instruction.register], low, high
        if instruction.memory is None:
            assert instruction.rm is not None
            value = words[instruction.rm]
        else:
            value = self.nt.mmu.read_word(exit_.operand_address())
        return (words[instruction.register], value) if name == "vmwrite" else (value,)

    def _store_operand(self, activation: Activation, exit_: Exit, value: int) -> None:
        instruction = exit_.instruction
        assert instruction is not None
        if instruction.memory is not None:
            self.nt.mmu.write(exit_.operand_address(), value.to_bytes(8, "little"))
            return
        assert instruction.rm is not None
        activation.words[instruction.rm] = value

    def _enter_guest(self, activation: Activation, exit_: Exit, name: str) -> None:
        """VMLAUNCH or VMRESUME. An exit handler's VMRESUME is done by the stub that called it."""
        nt, words = self.nt, activation.words
        processor, guests = nt.il.current, self.code.guests
        unit = processor.vmx
        resumes = name == "vmresume" and activation.guest is not None
        processor.rflags = words[RFLAGS]
        method = unit.vmlaunch if name == "vmlaunch" else unit.vmresume
        if not resumes:
            unit.gpr[:] = words[0:16]
        result: Any = ENTERED
        if not resumes or guests.runs(processor) or not unit.resume_unseen():
            result = nt.ki.processor_operation(method)
        if isinstance(result, Entered | GuestExit):
            if resumes:
                unit.resumed = result
                self.code.leave_handler(activation)
                return
            self.code.forget_world(processor)
            if isinstance(result, Entered) and guests.takes(processor):
                stacks.record_entry(nt, processor, self.code.stacks.place_of(activation))
                guests.begin(activation, processor)
                return
            nt.prepare_engine(processor)
            stacks.begin_guest(nt, processor, result)
            guests.arrived(activation)  # an exit handler went back to this stack
            return
        words[RFLAGS] = flags_after(words[RFLAGS], result)
        self._skip(activation, exit_)

    # Faults

    def handed_on(self, activation: Activation, vector: int) -> None:
        """A routine behind a replaced gate has jumped to the kernel's for this vector, or code at
        LSTAR to KiSystemCall64."""
        if vector == SYSTEM_SERVICE:
            self.code.system_calls.arrived(activation)
            return
        trap = self.code.gates.handed_on(activation, vector)
        if trap is not None and trap.kind is K.SOFTWARE_INTERRUPT:
            self._kernel_trap(activation, trap)
        elif trap is not None:
            self._kernel_exception(activation, trap)

    def _extended_control(self, activation: Activation, exit_: Exit) -> None:
        """XGETBV and XSETBV: #UD, because the kernel leaves CR4.OSXSAVE clear (SDM 2)."""
        if self.nt.il.current.cr4 & CR4_OSXSAVE:
            self._undefined(exit_, "CR4.OSXSAVE is set; what XSAVE saves is not modelled")
        what = f"#UD: {exit_.mnemonic.upper()} with CR4.OSXSAVE clear"
        ki_raise(self.nt, ntstatus.STATUS_ILLEGAL_INSTRUCTION, (), what)

    def _sysret(self, activation: Activation, exit_: Exit) -> None:
        self.code.system_calls.sysret(activation, exit_)

    def _exception(self, activation: Activation, exit_: Exit) -> None:
        if activation.user:
            self.code.system_calls.check(activation)
        limit = exit_.vector == 6 and exit_.engine_limit
        if limit or not self.code.gates.exception(activation, exit_):
            self._kernel_exception(activation, exit_)

    def _kernel_exception(self, activation: Activation, exit_: Exit | Trap) -> None:
        if exit_.vector == 14:
            self._page_fault(activation, exit_)
        elif exit_.vector in (12, 13):
            what = f"{MNEMONICS[exit_.vector]}: an address that is not canonical, or a bad selector"
            ki_raise(self.nt, ntstatus.STATUS_ACCESS_VIOLATION, (0, _EVERYWHERE), what)
        elif exit_.vector == 6 and exit_.engine_limit:
            limit = f"{self.nt.describe_address(exit_.rip)}: {exit_.engine_limit}"
            self.nt.fail(
                UnmodelledInstruction(limit, "the engine cannot execute this instruction")
            )
        elif exit_.vector == VECTOR_VE:
            ki_virtualization_exception(self.nt)
        else:
            status = _STATUS_OF_VECTOR.get(exit_.vector, ntstatus.STATUS_ILLEGAL_INSTRUCTION)
            words = list(activation.words)
            if exit_.vector == 0 and division.overflows(self.nt.mmu, words, exit_.rip):
                status = ntstatus.STATUS_INTEGER_OVERFLOW
            ki_raise(self.nt, status, (), MNEMONICS.get(exit_.vector, f"vector {exit_.vector}"))

    def _page_fault(self, activation: Activation, exit_: Exit | Trap) -> None:
        """The kernel makes the page present, or ends in what Windows ends in."""
        assert exit_.address is not None
        thread = activation.thread
        guard = thread.stack_limit - 0x1000
        if guard <= exit_.address < thread.stack_limit and guard <= activation.words[RSP] + 0x1000:
            self.nt.ki.double_fault(activation.words[RSP], exit_.rip)
        missing = self.code.exports.missing_variable(exit_.address)
        if missing:
            what = f"a variable of the kernel, touched by {self._place(exit_)}"
            self.nt.fail(UnmodelledRoutine(missing, what))
        assert exit_.error_code is not None
        self.nt.mmu.fault(exit_.address, exit_.error_code & 0x13)
        self.code.flush_translations()

    def _software_interrupt(self, activation: Activation, exit_: Exit) -> None:
        if not self.code.gates.exception(activation, exit_):
            self._kernel_trap(activation, exit_)

    def _kernel_trap(self, activation: Activation, exit_: Exit | Trap) -> None:
        """INT 29h is a fast fail, INT 2Ch an assertion, INT3 a breakpoint, INT 2Dh the debugger's
        service."""
        if exit_.vector == 0x29:
            self.nt.fast_fail(activation.words[RCX] & _LOW, "INT 29h")
        if exit_.vector == 0x2C:
            ki_raise(self.nt, ntstatus.STATUS_ASSERTION_FAILURE, (), "INT 2Ch: an assertion failed")
        if exit_.vector == 3:
            ki_raise(self.nt, ntstatus.STATUS_BREAKPOINT, (0,), "INT3 without a debugger")
        if exit_.vector == _DEBUG_SERVICE:
            self._debug_service(activation, exit_.rip)
            return
        if exit_.vector == 1:
            ki_raise(self.nt, ntstatus.STATUS_SINGLE_STEP, (), "INT1")
        what = f"INT {exit_.vector:#x}: no gate for it"
        ki_raise(self.nt, ntstatus.STATUS_ACCESS_VIOLATION, (0, _EVERYWHERE), what)

    def _debug_service(self, activation: Activation, rip: int) -> None:
        """Without a debugger printing and symbols are passed over, with the byte that follows; any
        other service is a breakpoint. Source: ReactOS, KiDebugServiceTrap, kdmain.c (KdpStub)."""
        words = activation.words
        service = words[RAX] & _LOW
        words[RIP] = rip + 2
        if service in _SERVICES_PASSED_OVER:
            words[RIP] += 1
            return
        information = service, words[RCX], words[RDX]
        ki_raise(self.nt, ntstatus.STATUS_BREAKPOINT, information, "INT 2Dh without a debugger")

    def _undefined(self, exit_: Exit | Trap, why: str) -> NoReturn:
        self.nt.fail(UnmodelledInstruction(self._place(exit_), why))

    def _place(self, exit_: Exit | Trap) -> str:
        """`driver!routine+0x1: the instruction`."""
        where = self.nt.describe_address(exit_.rip)
        return f"{where}: {exit_.disassemble()}" if isinstance(exit_, Exit) else where

    def _no_memory(self, activation: Activation, exit_: Exit) -> None:
        where = self.nt.describe_address(exit_.rip)
        why = f"physical address {exit_.address:#x} is beyond the machine's memory"
        self.nt.fail(UnmodelledInstruction(where, why))
