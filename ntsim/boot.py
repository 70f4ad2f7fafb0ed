"""Power on, processors, phase 0, phase 1, idle: the order in which a machine comes to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ntsim.host.current import use_running_machine
from ntsim.host.drivers import DriverHost
from ntsim.host.python import PythonHost
from ntsim.hw.clock import Clock
from ntsim.hw.cpu import Processor
from ntsim.hw.cpu_model import CpuModel
from ntsim.hw.interleave import Interleaver, Strategy
from ntsim.hw.mmu import Mmu
from ntsim.hw.paging import SELF_MAP
from ntsim.hw.ports import PortBus, SerialPort
from ntsim.hw.prng import Random
from ntsim.hw.ram import Ram
from ntsim.hw.vmx.capabilities import VmxCapabilities
from ntsim.hw.vmx.events import VmExited
from ntsim.hw.vmx.unit import VmxUnit
from ntsim.hw.vmx.vmcs import VmcsDirectory
from ntsim.nt.cc.state import Cc
from ntsim.nt.cm.registry import Registry
from ntsim.nt.events import VmxOccurred
from ntsim.nt.ex.object_types import ex_create_object_types
from ntsim.nt.ex.state import Ex
from ntsim.nt.fsrtl.legal import fsrtl_legal_characters
from ntsim.nt.io.driver import mi_link_image
from ntsim.nt.io.state import Io
from ntsim.nt.kd.print import Kd
from ntsim.nt.ke.scheduler import DISPATCH_VECTOR, ki_idle_loop, ki_start_greenlet
from ntsim.nt.ke.state import Ke
from ntsim.nt.ke.thread import RUNNING
from ntsim.nt.kernel import Kernel
from ntsim.nt.ki.integrity import Integrity
from ntsim.nt.ki.interrupt import (
    CLOCK_VECTOR,
    ki_clock_watchdog,
    ki_dpc_watchdog_triage_block,
    ki_interrupt,
    ki_next_event,
)
from ntsim.nt.ki.processor import ki_initialize_processor, ki_set_syscall_entry
from ntsim.nt.ki.state import Ki
from ntsim.nt.mm import layout
from ntsim.nt.mm.images import Image
from ntsim.nt.mm.mm import Mm
from ntsim.nt.mm.variables import mi_map_kernel_data, mi_variable
from ntsim.nt.mm.working_set import WorkingSets
from ntsim.nt.ob.namespace import ob_initialize_namespace
from ntsim.nt.ob.objects import Ob
from ntsim.nt.ps.state import Ps
from ntsim.nt.rtl import lists
from ntsim.nt.se.state import Se

if TYPE_CHECKING:
    from ntsim.nt.vf.options import Settings


@dataclass(frozen=True, slots=True)
class BootOptions:
    """What a machine is built from."""

    processors: int
    memory_bytes: int
    seed: int
    strategy: Strategy
    model: CpuModel
    record: bool


def boot(options: BootOptions) -> Kernel:
    """A running system with nothing to do."""
    nt = power_on(options)
    start_processors(nt)
    phase_0(nt, options.seed)
    phase_1(nt, options.seed)
    nt.recorder.enabled = options.record
    return nt


def power_on(options: BootOptions) -> Kernel:
    """RAM, clock, ports, processors; nothing runs yet."""
    mm = Mm(Ram(options.memory_bytes), options.seed)
    count, model = options.processors, options.model
    clock, ports = Clock(model.tsc_hz), PortBus()
    ports.attach(SerialPort(), 0x3F8, 8)
    processors = [Processor(n, count, model, mm.ram, clock, ports) for n in range(count)]
    for processor in processors:
        processor.cr3 = mm.system_root
    interleaver = Interleaver(processors, clock, options.strategy)
    nt = Kernel(mm, processors, clock, interleaver, record=False)
    nt.nt_image = Image(
        "ntoskrnl.exe", layout.NT_BASE, layout.NT_SIZE,
        layout.NT_BASE + 0x20_0000, layout.NT_BASE + layout.NT_SIZE, "nt",
    )  # fmt: skip
    nt.host = DriverHost(nt)
    connect_memory(nt.mmu, nt.host)
    mi_map_kernel_data(nt)
    return nt


def connect_memory(mmu: Mmu, host: PythonHost) -> None:
    """Typed addresses ask the host for storage and routine addresses."""
    use_running_machine()
    mmu.allocate, mmu.address_of, mmu.call = host.allocate, host.address_of, host.call_pointer


def start_processors(nt: Kernel) -> None:
    """Control structures of every processor, pool first because they link lists."""
    nt.mm.map_shared_user_data()
    nt.ex = Ex(nt)
    nt.cc = Cc(nt)
    model = nt.processors[0].model
    directory = VmcsDirectory(VmxCapabilities.of_model(model))
    for processor in nt.processors:
        ki_initialize_processor(nt, processor)
        processor.vmx = VmxUnit(processor, directory, lambda event: record_vmx(nt, event))
        processor.vmx.new_frame = nt.mm.frames.take
        processor.vmx.report_passages = False
    ki_set_syscall_entry(nt)
    ki_dpc_watchdog_triage_block(nt)
    nt.il.clock_vector, nt.il.timer_vector = CLOCK_VECTOR, DISPATCH_VECTOR
    nt.il.interrupt = lambda processor, vector: nt.ki.deliver(processor, vector)
    nt.il.watch = lambda: ki_clock_watchdog(nt)
    nt.il.next_event = lambda timer: ki_next_event(nt, timer)


def record_vmx(nt: Kernel, event: object) -> None:
    """What VT-x reports becomes part of the recorded events.

    VM exits and successful entries are not reported: `host.stacks` records them. A failed entry
    is, as a VM exit, which the handler's call will record.
    """
    if not isinstance(event, VmExited):
        text = str(event)
        nt.emit_at(
            VmxOccurred, type(event).__name__, text.partition(" ")[2] if text[:1] == "P" else text
        )


def phase_0(nt: Kernel, seed: int) -> None:
    """The rooms, the System process, an idle thread on each processor."""
    nt.ki = Ki(nt)
    nt.ki.deliver = lambda processor, vector: ki_interrupt(nt, processor, vector)
    nt.ke = Ke(nt)
    nt.ke.timers.initialize_tables()
    nt.il.woken = nt.ke.woken
    nt.il.next_timer = nt.ke.timers.next_due
    nt.il.timers_due = nt.ke.timers.processors_due
    nt.ob = Ob(nt, seed)
    nt.ex.pool.quota_cookie = Random(seed, "ExpPoolQuotaCookie").next()
    ob_initialize_namespace(nt)
    nt.se = Se(nt)
    nt.ps = Ps(nt)
    nt.ps.system = nt.ps.create_process("System", nt.mm.system_root)
    nt.cm = Registry(nt)
    nt.kd = Kd(nt)
    nt.io = Io(nt)
    fill_shared_data(nt)
    for processor in nt.processors:
        start_idle(nt, processor)


def start_idle(nt: Kernel, processor: Processor) -> None:
    """The processor's idle thread, current from now on and halted until an interrupt."""
    thread = nt.ps.create_thread(nt.ps.system, lambda: ki_idle_loop(nt, processor), priority=0)
    thread.text = f"0000.{processor.number:04x}"
    nt.ke.idle_threads.append(thread)
    prcb = nt.prcb[processor.number]._v
    prcb.CurrentThread = prcb.IdleThread = thread.va
    processor.context = thread
    thread.v.State = RUNNING
    thread.v.Affinity_Mask = 1 << processor.number
    thread.v.NextProcessor = processor.number
    nt.ke.set_stack(processor, thread)
    thread.greenlet = processor.greenlet = ki_start_greenlet(nt, thread)


def phase_1(nt: Kernel, seed: int) -> None:
    """Object types of the executive, the loaded-module list, tables, patch protection."""
    nt.module_list = mi_variable(nt, "PsLoadedModuleList", 16)
    lists.initialize(nt.mmu, nt.module_list)
    mi_link_image(nt, nt.nt_image)
    end = layout.HAL_BASE + layout.HAL_SIZE
    mi_link_image(nt, Image("hal.dll", layout.HAL_BASE, layout.HAL_SIZE, end, end, "hal"))
    ex_create_object_types(nt)
    fsrtl_legal_characters(nt)
    nt.write_pointer(mi_variable(nt, "MmPteBase"), SELF_MAP)
    nt.write_pointer(mi_variable(nt, "MmPfnDatabase"), layout.PFN_DATABASE)
    nt.il.balance = WorkingSets(nt, seed).balance
    nt.ki.integrity = Integrity(nt, seed)


def start_verifier(nt: Kernel, settings: Settings, seed: int) -> None:
    """Driver Verifier, for every driver loaded from now on."""
    from ntsim.nt.vf.verifier import Verifier

    nt.verifier = Verifier(nt, settings, seed)


def fill_shared_data(nt: Kernel) -> None:
    """KUSER_SHARED_DATA of Windows 10 build 19041."""
    v = nt.ke.shared_data._v
    v.NtMajorVersion, v.NtMinorVersion, v.NtBuildNumber = 10, 0, 19041
    v.TickCountMultiplier = 0x0FA0_0000
    v.ActiveProcessorCount = len(nt.processors)
    nt.ke.update_time()
