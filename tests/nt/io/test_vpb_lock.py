"""The lock of volume parameter blocks; access of file objects; blocks of WMI providers."""

from ntsim.wdm import *


def test_the_lock_raises_and_lowers(value_of) -> None:
    def body() -> list:
        old = KeRaiseIrql(APC_LEVEL)
        level = IoAcquireVpbSpinLock()
        held = KeGetCurrentIrql()
        IoReleaseVpbSpinLock(level)
        found = [level, held, KeGetCurrentIrql()]
        KeLowerIrql(old)
        return found

    assert value_of(body) == [APC_LEVEL, DISPATCH_LEVEL, APC_LEVEL]


def test_generic_access_of_files(value_of) -> None:
    found = value_of(lambda: read_bytes(IoGetFileObjectGenericMapping(), 16).hex())
    assert found == "89001200" "16011200" "a0001200" "ff011f00"


def test_no_provider_has_a_block_to_open(value_of) -> None:
    def body() -> list:
        guid = ExAllocatePoolWithTag(NonPagedPool, 16, 1)
        status, block = IoWMIOpenBlock(guid, 1)
        pool = ExAllocatePoolWithTagPriority(PagedPool, 64, 1, NormalPoolPriority)
        level = KeRaiseIrqlToDpcLevel()
        executing = KeIsExecutingDpc()
        KeLowerIrql(level)
        return [hex(status & 0xFFFF_FFFF), int(block), pool != 0, executing]

    assert value_of(body) == ["0xc0000295", 0, True, 0]
