"""WSK clients on a machine without network. Source: WDK WskCaptureProviderNPI, WskDeregister."""

from ntsim.host.export_names import Standing, is_kernel_module, standing
from ntsim.wdm import *

INFINITE = 0xFFFFFFFF
NAMES = (
    "WskRegister", "WskDeregister", "WskCaptureProviderNPI", "WskReleaseProviderNPI",
    "WskQueryProviderCharacteristics",
)  # fmt: skip


def client():
    """(registration, status)"""
    dispatch = cast(ExAllocatePoolZero(NonPagedPool, 16, 1), PWSK_CLIENT_DISPATCH)
    dispatch.Version = 0x100
    npi = cast(ExAllocatePoolZero(NonPagedPool, 16, 1), PWSK_CLIENT_NPI)
    npi.Dispatch = dispatch
    made = cast(ExAllocatePoolZero(NonPagedPool, 24, 1), PWSK_REGISTRATION)
    return made, WskRegister(npi, made)


def now() -> int:
    return KeQueryInterruptTime()


def test_a_client_registers_and_no_provider_comes(value_of) -> None:
    def body():
        made, status = client()
        provider = WSK_PROVIDER_NPI()
        start = now()
        at_once = WskCaptureProviderNPI(made, 0, provider), now() - start < 10_000_000
        later = WskCaptureProviderNPI(made, 5000, provider), now() - start >= 50_000_000
        versions = WskQueryProviderCharacteristics(made, WSK_PROVIDER_CHARACTERISTICS())
        WskDeregister(made)
        return status, at_once, later, versions

    not_ready = STATUS_DEVICE_NOT_READY
    assert value_of(body) == (0, (not_ready, True), (not_ready, True), not_ready)


def test_deregistering_ends_a_wait_without_end(value_of) -> None:
    def body():
        made, _ = client()
        seen = []

        def work(context):
            seen.append(WskCaptureProviderNPI(made, INFINITE, WSK_PROVIDER_NPI()))

        _, handle = PsCreateSystemThread(THREAD_ALL_ACCESS, NULL, NULL, NULL, work, NULL)
        interval = LARGE_INTEGER()
        interval.QuadPart = -10_000_000
        KeDelayExecutionThread(KernelMode, FALSE, interval)
        before = list(seen)
        WskDeregister(made)
        ZwWaitForSingleObject(handle, FALSE, NULL)
        ZwClose(handle)
        return before, seen

    assert value_of(body) == ([], [STATUS_DEVICE_NOT_READY])


def test_registrations_leave_no_pool_behind(run_driver) -> None:
    def body():
        for _ in range(3):
            made, _ = client()
            WskDeregister(made)

    usage = run_driver(body).machine.nt.ex.pool.usage[("Nmrr", False)]
    assert usage == [3, 3, 0]


def test_a_client_without_dispatch_table_is_refused(value_of) -> None:
    def body():
        return WskRegister(WSK_CLIENT_NPI(), WSK_REGISTRATION())

    assert value_of(body) == STATUS_INVALID_PARAMETER


def test_the_routines_are_imported_from_netio() -> None:
    assert is_kernel_module("NETIO.SYS")
    assert {standing(name) for name in NAMES} == {Standing.MODELLED}
