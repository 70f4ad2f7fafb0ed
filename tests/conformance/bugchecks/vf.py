"""What only Driver Verifier sees, and hypervisors."""

from driver import vmcs
from ntsim.abi import vmx_constants as vmx
from ntsim.intrin import *
from ntsim.wdm import *

from .case import ANY, kernel_address, mistake
from .short import *


@mistake(0xC1)
def an_overrun_within_the_page(bench) -> None:
    """Special pool: the bytes behind an allocation were changed when it is freed."""
    bench.configure(verifier="special-pool")

    def body() -> None:
        mine = block(20)
        bench.expect(mine, mine + 21, 20, 0x24)
        write_bytes(mine + 21, b"x")
        ExFreePoolWithTag(mine, TAG)

    bench.run(body)


@mistake(0xC4)
def a_spin_lock_released_to_a_higher_level(bench) -> None:
    """IRQL checks: KeLowerIrql to a level above the current one."""
    bench.configure(verifier="standard")
    bench.expect(0x31, PASSIVE_LEVEL, DISPATCH_LEVEL, 0)
    bench.run(lambda: KeLowerIrql(DISPATCH_LEVEL))


@mistake(0xC7)
def freeing_an_active_timer(bench) -> None:
    """Pool that holds a timer is freed while the timer is set."""
    bench.configure(verifier="misc")

    def body() -> None:
        mine = block(0x80)
        timer = cast(mine + 0x20, PKTIMER)
        KeInitializeTimer(timer)
        KeSetTimer(timer, interval(1000), NULL)
        bench.expect(0, int(timer), mine, mine + 0x80)
        ExFreePoolWithTag(mine, TAG)

    bench.run(body)


@mistake(0xC9)
def a_status_that_is_not_the_irps(bench) -> None:
    """I/O verification: the status returned is not the one the IRP was completed with."""
    bench.configure(verifier="io")

    def control(DeviceObject, Irp) -> int:
        complete(Irp)
        return STATUS_UNSUCCESSFUL

    bench.expect(ANY, ANY, ANY, ANY)
    bench.request(device_control=control)


@mistake(0xCC)
def the_kernel_uses_freed_special_pool(bench) -> None:
    """Special pool: KeReadStateEvent of an event in memory that was freed."""
    bench.configure(verifier="special-pool")

    def body() -> None:
        event = block(KEVENT.size, KEVENT)
        KeInitializeEvent(event, NotificationEvent, FALSE)
        ExFreePoolWithTag(event, TAG)
        bench.expect(int(event) + 4, 0, bench.kernel, 0)
        KeReadStateEvent(event)

    bench.run(body)


@mistake(0xCD)
def the_kernel_reads_past_an_allocation(bench) -> None:
    """Special pool: RtlCopyMemory of more bytes than were allocated."""
    bench.configure(verifier="special-pool")

    def body() -> None:
        mine, other = block(16), block(64)
        bench.expect(mine + 16, 0, bench.kernel, 0)
        RtlCopyMemory(other, mine, 32)

    bench.run(body)


@mistake(0xD5)
def use_after_free(bench) -> None:
    """Special pool: the driver reads memory it has freed."""
    bench.configure(verifier="special-pool")

    def body() -> None:
        mine = block(32)
        ExFreePoolWithTag(mine, TAG)
        bench.expect(mine, 0, bench.code, 0)
        read_bytes(mine, 4)

    bench.run(body)


@mistake(0xD6)
def a_write_past_an_allocation(bench) -> None:
    """Special pool: the driver writes past the end."""
    bench.configure(verifier="special-pool")

    def body() -> None:
        mine = block(32)
        bench.expect(mine + 32, 1, bench.code, 0)
        write_bytes(mine, b"x" * 33)

    bench.run(body)


@mistake(0x80)
def a_hypervisor_that_injects_an_nmi(bench) -> None:
    """A hypervisor injects a nonmaskable interrupt into the system it runs as its guest."""
    from tests.host.test_system_guest import Hypervisor

    def cpuid(regs) -> bool:
        __vmx_vmwrite(vmcs.VM_ENTRY_INTR_INFO_FIELD, 0x8000_0202)
        return True

    hypervisor = Hypervisor(lambda: __cpuid(0), {vmx.EXIT_REASON_CPUID: cpuid})
    machine = bench.configure(processors=1)
    bench.expect(0x4F4454, 0, 0, 0)
    machine.load_driver(hypervisor.DriverEntry, name="hv.sys")


@mistake(0xE6)
def an_adapter_is_released_with_a_buffer(bench) -> None:
    """DMA verification: an adapter is released while one of its common buffers is allocated."""
    bench.configure(verifier="dma")

    def body() -> None:
        description = DEVICE_DESCRIPTION()
        description.Master = description.ScatterGather = description.Dma64BitAddresses = TRUE
        description.MaximumLength = 0x1000
        adapter, _ = IoGetDmaAdapter(NULL, description)
        HalAllocateCommonBuffer(adapter, 64, LARGE_INTEGER(), TRUE)
        bench.expect(0x7, int(adapter), 1, kernel_address)
        adapter.DmaOperations.PutDmaAdapter(adapter)

    bench.run(body)
