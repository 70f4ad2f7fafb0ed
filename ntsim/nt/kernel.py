"""One machine's kernel: the rooms, and the few things every room asks for.

Rooms hold the state; routines are functions whose first parameter is this object. What is not
Windows' business (how driver code is executed) comes in through the `Host` protocol, plugged in by
boot.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from greenlet import greenlet

from ntsim.abi import ntstatus
from ntsim.errors import Error, Hang, UnmodelledRoutine
from ntsim.hw.clock import Clock
from ntsim.hw.cpu import CR0_WP, RFLAGS_IF, Processor
from ntsim.hw.interleave import Interleaver
from ntsim.nt.events import Event, ExceptionRaised, InterruptsDisabled, InterruptsHeldOff
from ntsim.nt.ke.bugcheck import BugCheckState, KeBugCheckEx, ke_stop
from ntsim.nt.ke.irql import DISPATCH_LEVEL, set_irql
from ntsim.nt.ki import frames
from ntsim.nt.ki.fault import ki_page_fault, ki_raise
from ntsim.nt.ki.stack import ki_check_stack
from ntsim.nt.ki.syscall import ki_unhandled
from ntsim.nt.mm.images import Image, Images
from ntsim.nt.mm.mm import Mm
from ntsim.nt.mm.resolve import mm_access_fault
from ntsim.nt.recorder import Recorder
from ntsim.nt.rtl.exception import EXCEPTION_NONCONTINUABLE, StructuredException
from ntsim.nt.rtl.lists import rtl_fail_fast
from ntsim.nt.vf.finding import vf_report

if TYPE_CHECKING:
    from ntsim.nt.cc.state import Cc
    from ntsim.nt.cm.registry import Registry
    from ntsim.nt.ex.state import Ex
    from ntsim.nt.io.state import Io
    from ntsim.nt.kd.print import Kd
    from ntsim.nt.ke.state import Ke
    from ntsim.nt.ke.thread import Thread
    from ntsim.nt.ki.state import Ki
    from ntsim.nt.ob.objects import Ob
    from ntsim.nt.ps.state import Ps
    from ntsim.nt.se.state import Se


class Host(Protocol):
    """How driver code is executed and named."""

    files: dict[str, str]

    def internal(self, nt: Kernel, function: Callable[..., Any]) -> int:
        """Give a routine of the kernel itself an address."""

    def call(self, address: int, arguments: tuple[Any, ...]) -> int:
        """Run the routine at `address`; a fault if there is none."""

    def load(self, target: Any, name: str | None) -> tuple[Image, Callable[..., Any]]:
        """An image for a driver's file or DriverEntry callable, and its entry."""

    def register(self, image: Image, function: Callable[..., Any], name: str = "") -> int:
        """The address of a routine of an image."""

    def routine_at(self, address: int) -> Callable[..., Any] | None:
        """The Python routine that begins at `address`."""

    def export_address(self, name: str) -> int:
        """The address of a routine that drivers reach by a pointer only."""

    def routine_address(self, name: str) -> int:
        """The address of a routine that nt exports, 0 if there is none of that name."""

    def service_at(self, address: int) -> str:
        """The service whose code begins at `address` as the processor would fetch it; "" if none,
        or if the code has been changed."""

    def system_call(self, number: int, rip: int, registers: tuple[int, ...]) -> int | None:
        """SYSCALL, if it leads to other code than KiSystemCall64's: the status; else None."""

    def vector_registers(self) -> bytes:
        """The XMM registers and MXCSR of the compiled code that calls, as FXSAVE stores them."""

    def load_vector_registers(self, data: bytes) -> None:
        """Give them to that code; Python has none."""

    def is_fetched(self, address: int, code: bytes) -> bool:
        """Whether the processor would fetch these bytes of the kernel's code at `address`."""

    def variable(self, name: str) -> int:
        """The address of an exported variable of the kernel, 0 if there is none of that name."""

    def text(self, text: str, wide: bool) -> int:
        """The address of a string literal."""

    def discard(self, image: Image) -> None:
        """An image is being unmapped: its routines are gone."""

    def locate(self, frame: FrameType) -> tuple[Image, str, bool] | None:
        """(image, symbol name, user mode) of a Python frame of a driver or user module."""

    def stub(self, name: str, value: int | Callable[..., Any]) -> None:
        """Replace a routine of the kernel by a value or a function."""

    def compiled_frames(self, frame: FrameType) -> list[Any]:
        """The StackFrames of compiled code that a Python frame of the host runs."""

    def compiled_place(self, frame: FrameType) -> str:
        """Where that code is executing: module!symbol+offset."""


class Kernel:
    """See the module docstring. `prcb[n]` is the KPRCB of processor n.

    `said(source, text)` hears output as it is made: source "DbgPrint" with a line, or "stdout" or
    "stderr" with what an app wrote. It must not raise.
    """

    mm: Mm
    ki: Ki
    ke: Ke
    ex: Ex
    ob: Ob
    io: Io
    ps: Ps
    se: Se
    kd: Kd
    cc: Cc
    cm: Registry
    host: Host
    um: Any
    vmx: Any
    nt_image: Image
    module_list: int

    def __init__(
        self,
        mm: Mm,
        processors: list[Processor],
        clock: Clock,
        interleaver: Interleaver,
        record: bool,
    ) -> None:
        self.mm, self.mmu = mm, mm.mmu
        self.processors, self.clock, self.il = processors, clock, interleaver
        self.recorder = Recorder(record)
        self.images = Images()
        self.greenlets: dict[greenlet, str] = {}
        self.prcb: list[Any] = []
        self.findings: list[Any] = []
        self.bugcheck_state: BugCheckState | None = None
        self.failure: BaseException | None = None
        self.off_since: dict[int, tuple[int, str]] = {}
        self.verifier: Any = None
        self.engine: Any = None
        self.reported_irql: int | None = None
        self.stubs: dict[str, Any] = {}
        self.saved_stacks: dict[int, Any] = {}
        self.host_stacks: set[int] = set()
        self.said: Callable[[str, str], None] = lambda source, text: None
        self.device_handlers: dict[int, Callable[[Processor], None]] = {}
        self.registers: dict[int, tuple[int, Any]] = {}  # device memory: frame to (start, model)
        self.pnp: Any = None
        self.dma: Any = None  # the HAL's DMA adapters, from the first one on
        self.po: Any = None
        self.watched: Any = [0]  # of system calls: `watched[0] == untouched` as long as nobody
        self.untouched = 0  # can have written to what they go through (`ki.touched`)
        self.etw_providers: dict[int, str] = {}  # REGHANDLE to the provider's GUID
        self.wmi_providers: dict[int, int] = {}  # device object to its provider ID
        self.wmi_instances: dict[str, int] = {}  # block's GUID to the next instance ID
        self.mmu.running = interleaver
        self.mmu.fault = lambda va, error: ki_page_fault(self, va, error)
        self.mmu.corrupt_list = lambda entry: rtl_fail_fast(self, entry)
        self.mmu.endless_list = self.loop_for_ever

    @property
    def thread(self) -> Thread:
        """The thread on the current processor."""
        return self.il.current.context  # type: ignore[no-any-return]

    @property
    def stopped(self) -> bool:
        """A bug check, or a failure that ends the run, has happened."""
        return self.bugcheck_state is not None or self.failure is not None

    # Recording

    def emit(self, kind: type[Event], *fields: Any) -> None:
        """Record what happened, without a source line."""
        il, recorder = self.il, self.recorder
        il.progress += 1
        if recorder.enabled:
            recorder.count += 1
            processor = il.current
            time = self.clock.now + (il.quantum - processor.budget) * il.cost  # il.time()
            who = kind.number, time, processor.number, processor.context.text, ""
            recorder.keep(who + fields)

    def emit_for(self, thread: Thread, kind: type[Event], *fields: Any) -> None:
        """Record what happened to a thread that does not run."""
        il, recorder = self.il, self.recorder
        il.progress += 1
        if recorder.enabled:
            recorder.count += 1
            who = kind.number, il.time(), il.current.number, thread.text, ""
            recorder.keep(who + fields)

    def record(self, number: int, where: str, *fields: Any) -> None:
        """Record under a number of `events.KINDS`, with a source line found before, VM exits
        and entries, which are no progress by themselves."""
        il, recorder = self.il, self.recorder
        il.labour += 1
        if recorder.enabled:
            recorder.count += 1
            processor = il.current
            time = self.clock.now + (il.quantum - processor.budget) * il.cost  # il.time()
            who = number, time, processor.number, processor.context.text, where
            recorder.keep(who + fields)

    def emit_at(self, kind: type[Event], *fields: Any) -> None:
        """Record what happened, with the driver's or app's line that did it."""
        il, recorder = self.il, self.recorder
        il.progress += 1
        if recorder.enabled:
            recorder.count += 1
            processor, where = il.current, frames.source_line(self)
            who = kind.number, il.time(), processor.number, processor.context.text, where
            recorder.keep(who + fields)

    # Calls into driver code

    def call(self, address: int, *arguments: Any) -> int:
        """Call a routine by address, compiled or Python; what it returns, 0 for VOID."""
        return self.host.call(address, arguments)

    def call_for_no_thread(self, address: int, *arguments: Any) -> int:
        """Call a DPC or interrupt routine: nothing below it handles its exceptions."""
        try:
            if self.verifier is not None:
                return int(self.verifier.interruption(address, arguments))
            return self.host.call(address, arguments)
        except StructuredException as error:
            ki_unhandled(self, error, interrupt=True)

    def describe_address(self, address: int) -> str:
        """module!symbol+offset of a routine."""
        return self.images.describe(address)

    # Stopping

    def bugcheck(
        self,
        code: int,
        one: int = 0,
        two: int = 0,
        three: int = 0,
        four: int = 0,
        *,
        irql: int | None = None,
    ) -> NoReturn:
        """Stop the system as the kernel itself does."""
        self.reported_irql = irql
        KeBugCheckEx(self, code, one, two, three, four)
        raise AssertionError("KeBugCheckEx came back")

    def stop_for(
        self, error: StructuredException, code: int, one: int, two: int, three: int, four: int
    ) -> NoReturn:
        """Stop the system for an unhandled exception: the report shows where it was raised."""
        ke_stop(self, code, (one, two, three, four), None, error)

    def stop(self, state: BugCheckState) -> NoReturn:
        """Freeze: the hub takes over and nothing on this machine runs again."""
        self.il.check_closed()
        self.bugcheck_state = state
        self._leave()

    def fail(self, error: BaseException) -> NoReturn:
        """End the run with an error for the caller of ntsim."""
        self.il.check_closed()
        if isinstance(error, UnmodelledRoutine):
            places = ((f.file, f.line) for f in frames.capture(self) if f.file)
            error.file, error.line = next(places, ("", 0))
        self.failure = error
        self._leave()

    def _leave(self) -> NoReturn:
        hub = self.il.hub
        assert hub is not None
        while True:
            hub.switch()
            self.il.check_closed()

    # Small services

    def internal_address(self, function: Callable[..., Any]) -> int:
        """Address of one of the kernel's own routines, callable through `call`."""
        return self.host.internal(self, function)

    def vf_load_checks(self, driver: Any) -> None:
        """Before DriverEntry."""
        if self.verifier is not None:
            self.verifier.loading(driver)

    def vf_unload_checks(self, driver: Any) -> None:
        """What a driver left behind: the verifier's business."""
        if self.verifier is not None:
            self.verifier.unloading(driver)

    def mm_resolve(self, va: int, error: int) -> bool:
        return mm_access_fault(self, va, error)

    def trap_frame(self) -> int:
        """Address of the current thread's trap frame, 0 for a system thread."""
        address: int = self.thread.v.TrapFrame
        return address

    def read_pointer(self, va: int) -> int:
        return self.mmu.read_word(va)

    def write_pointer(self, va: int, value: int) -> None:
        self.mmu.write_word(va, value)

    def quad_part(self, value: Any) -> int:
        """A LARGE_INTEGER passed by value, signed: an int, or a variable of that type."""
        part = int(getattr(value, "QuadPart", value))
        return (part & (1 << 64) - 1 ^ 1 << 63) - (1 << 63)

    def allocate_pool(self, size: int, tag: str) -> int:
        """Nonpaged pool for the kernel's own use."""
        return self.ex.pool.allocate(size, tag)

    def free_pool(self, address: int) -> None:
        self.ex.pool.free(address)

    def device_interrupt(self, processor: Processor, vector: int) -> None:
        handler = self.device_handlers.get(vector)
        if handler is not None:
            handler(processor)

    def vmx_mode(self, processor: Processor) -> str:
        """ "off", "root" or "non-root", for people."""
        return "off" if processor.vmx is None else processor.vmx.mode_name

    def interrupts_off_at_exit(self, processor: Processor) -> None:
        """A system call is about to return with RFLAGS.IF clear; SYSRET hides it from Windows."""
        since, cause = self.off_since.get(processor.number, (self.il.now, "the driver"))
        text = (
            f"{processor} returned from a system call with interrupts off since {cause}, "
            f"{(self.il.now - since) / 10:.1f} us ago; SYSRET turned them on again. Until then no "
            "clock tick, IPI or DPC could run here, and a page fault would have been a bug check "
            "with IRQL 0xFF"
        )
        vf_report(self, "interrupts-off-at-system-call-exit", cause, text)
        self.interrupts_back_on(processor, "SYSRET, which loads the caller's RFLAGS")

    def unhandled(self, thread: Thread, error: StructuredException) -> NoReturn:
        """A fault of the kernel itself at the bottom of a thread's stack."""
        ki_unhandled(self, error, interrupt=thread in self.ke.idle_threads)

    def guard_system_thread(self, work: Callable[[], Any]) -> None:
        """Run a system thread's work; an exception nobody catches stops the system."""
        try:
            work()
        except StructuredException as error:
            ki_unhandled(self, error)
        except Error as error:
            self.fail(error)

    def in_user_mode(self) -> bool:
        """Whether the running code is an app's: its thread is in no system call and no driver."""
        thread = self.il.current.context
        return thread.user is not None and not thread.images and not thread.in_kernel

    def raise_status(
        self, status: int, reason: str = "ExRaiseStatus", information: tuple[int, ...] = ()
    ) -> NoReturn:
        """ExRaiseStatus, called by a driver or by the routine that `reason` names."""
        ki_raise(self, status, information, reason, EXCEPTION_NONCONTINUABLE)

    def raise_exception(self, error: StructuredException) -> NoReturn:
        """An exception that a driver has made itself."""
        name = ntstatus.status_name(error.ExceptionCode)
        self.emit_at(ExceptionRaised, name, error.reason)
        ki_check_stack(self, f"{name} ({error.reason})")
        error.stack = frames.capture(self)
        raise error

    def fast_fail(self, code: int, reason: str) -> None:
        self.ki.fast_fail(code, reason)

    def loop_for_ever(self) -> NoReturn:
        """The kernel follows corrupt links round and round, holding a lock: a watchdog finds it."""
        processor = self.il.current
        processor.cr8 = max(processor.cr8, DISPATCH_LEVEL)
        while True:
            self.il.step()

    def shut_down(self, processor: Processor, reason: str) -> NoReturn:
        """The processor is in the shutdown state; a PC resets then, so the run ends."""
        self.fail(Hang((), f"{processor} has shut down: {reason}"))

    def write_control_register(self, number: int, value: int) -> None:
        """MOV CRn with what follows from it: CR8 is the IRQL, CR3 drops translations."""
        processor = self.il.current
        if number == 8:
            set_irql(self, value, "MOV CR8")
            return
        if number == 0 and not value & CR0_WP:
            self.touched()
        self.ki.processor_operation(processor.mov_to_cr, number, value)
        if number == 3:
            self.mmu.flush(value)

    def prepare_engine(self, processor: Processor) -> None:
        """Give the processor's VT-x unit the machine's one engine, made when first needed."""
        if self.engine is None:
            from ntsim.hw.engine import Engine

            self.engine = Engine(self.mm.ram)
        self.engine.invalidate_code()
        processor.vmx.engine = self.engine
        self.touched()

    def touched(self) -> None:
        """From now on somebody may have changed what system calls go through: they look."""
        self.untouched = -1

    # RFLAGS.IF

    def interrupts_off(self, processor: Processor, cause: str) -> None:
        """RFLAGS.IF is cleared by an instruction: recorded, but no progress, as setting it."""
        self.emit_at(InterruptsDisabled, cause)
        self.il.progress -= 1
        self.disable_interrupts(processor, cause)

    def disable_interrupts(self, processor: Processor, cause: str) -> None:
        """RFLAGS.IF is cleared (a VM exit has cleared it already): remember when and by what."""
        processor.rflags &= ~RFLAGS_IF
        self.off_since.setdefault(processor.number, (self.il.now, cause))

    def interrupts_back_on(self, processor: Processor, reason: str) -> None:
        """RFLAGS.IF was set: say how long interrupts were off, and take what is pending."""
        processor.rflags |= RFLAGS_IF
        since, cause = self.off_since.pop(processor.number, (self.il.now, "the driver"))
        self.emit_at(InterruptsHeldOff, self.il.now - since, cause, reason)
        self.il.progress -= 1
        self.il.take_interrupts()
