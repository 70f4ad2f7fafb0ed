"""ZwOpenThread, ZwQueryInformationThread, ZwSetInformationThread, ZwYieldExecution."""

from ntsim.wdm import *


def test_a_thread_is_opened_by_its_id_and_asked(value_of) -> None:
    def body() -> list:
        client, attributes = CLIENT_ID(), OBJECT_ATTRIBUTES()
        InitializeObjectAttributes(attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL)
        client.UniqueThread = PsGetCurrentThreadId()
        status, handle = ZwOpenThread(THREAD_ALL_ACCESS, attributes, client)
        block = ExAllocatePoolWithTag(NonPagedPool, 0x40, 1)
        answer = ZwQueryInformationThread(handle, 0, block, 0x30, NULL)
        ids = [int.from_bytes(read_bytes(block + at, 8), "little") for at in (0x10, 0x18)]
        known = [int(PsGetCurrentProcessId()), int(PsGetCurrentThreadId())]
        short = ZwQueryInformationThread(handle, 0, block, 8, NULL) & 0xFFFF_FFFF
        write_bytes(block, (2).to_bytes(4, "little"))
        base = KeQueryPriorityThread(PsGetCurrentThread())
        changed = ZwSetInformationThread(handle, 3, block, 4)
        raised = KeQueryPriorityThread(PsGetCurrentThread()) - base
        client.UniqueThread = 0x7777_0000
        missing = ZwOpenThread(THREAD_ALL_ACCESS, attributes, client)[0] & 0xFFFF_FFFF
        return [status, answer, ids == known, hex(short), changed, raised, hex(missing)]

    assert value_of(body) == [0, 0, True, "0xc0000004", 0, 2, "0xc000000b"]


def test_nobody_to_yield_to(value_of) -> None:
    assert value_of(lambda: ZwYieldExecution(), processors=1) == 0x4000_0024
