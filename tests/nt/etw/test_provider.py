"""ETW providers. Source: WDK EtwRegister, EtwWrite, EtwEventEnabled, EtwUnregister."""

from ntsim.nt.events import TraceWritten
from ntsim.wdm import *

GUID_NUMBERS = (0x12345678, 0x1234, 0x5678, 1, 2, 3, 4, 5, 6, 7, 8)
TEXT = "{12345678-1234-5678-0102-030405060708}"


def test_a_provider_writes_and_nobody_listens(run_driver) -> None:
    def body() -> list[int]:
        status, handle = EtwRegister(DEFINE_GUID(*GUID_NUMBERS), NULL, NULL)
        event = ExAllocatePoolWithTag(NonPagedPool, 16, 0x74736554)
        write_bytes(event, bytes([7, 0, 0, 0, 4]) + bytes(11))
        old = KeRaiseIrqlToDpcLevel()
        written = EtwWrite(handle, event, NULL, 0, NULL)
        text = EtwWriteString(handle, 2, 0, NULL, "hello")
        KeLowerIrql(old)
        return [
            status, bool(handle), written, text, EtwEventEnabled(handle, event),
            EtwProviderEnabled(handle, 5, 0), EtwWrite(handle, event, NULL, 129, NULL),
            EtwUnregister(handle), EtwUnregister(handle), EtwWrite(handle, event, NULL, 0, NULL),
        ]  # fmt: skip

    done = run_driver(body)
    assert done.value == [
        0, True, 0, 0, False, False, STATUS_INVALID_PARAMETER,
        0, STATUS_INVALID_HANDLE, STATUS_INVALID_HANDLE,
    ]  # fmt: skip
    events = [e for e in done.machine.events if isinstance(e, TraceWritten)]
    assert [(e.provider, e.what) for e in events] == [
        (TEXT, "event 7, level 4"), (TEXT, "a string, level 2"),
    ]  # fmt: skip
