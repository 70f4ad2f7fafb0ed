"""Cache-aware run-down protection.

Source: WDK "Run-Down Protection", ExAllocateCacheAwareRundownProtection and its family.
"""

from ntsim.wdm import *

TAG = 0x74736554


def protection():
    return ExAllocateCacheAwareRundownProtection(NonPagedPoolNx, TAG)


def pause() -> None:
    interval = LARGE_INTEGER()
    interval.QuadPart = -10_000
    KeDelayExecutionThread(KernelMode, FALSE, interval)


def test_references_taken_and_given_back_on_different_processors_cancel(value_of) -> None:
    def body() -> list:
        ref = protection()
        KeSetSystemAffinityThread(1)
        taken = [ExAcquireRundownProtectionCacheAware(ref) for _ in range(3)]
        KeSetSystemAffinityThread(2)
        taken.append(ExAcquireRundownProtectionCacheAwareEx(ref, 2))
        ExReleaseRundownProtectionCacheAwareEx(ref, 4)
        ExReleaseRundownProtectionCacheAware(ref)
        ExWaitForRundownProtectionReleaseCacheAware(ref)
        refused = ExAcquireRundownProtectionCacheAware(ref)
        ExReInitializeRundownProtectionCacheAware(ref)
        again = ExAcquireRundownProtectionCacheAware(ref)
        ExReleaseRundownProtectionCacheAware(ref)
        ExRundownCompletedCacheAware(ref)
        last = ExAcquireRundownProtectionCacheAware(ref)
        ExFreeCacheAwareRundownProtection(ref)
        return [taken, refused, again, last]

    assert value_of(body, processors=2) == [[True] * 4, False, True, False]


def test_the_owner_waits_for_the_last_reference_of_any_processor(value_of) -> None:
    def body() -> list[str]:
        ref, order = protection(), []
        KeSetSystemAffinityThread(1)
        ExAcquireRundownProtectionCacheAware(ref)
        KeSetSystemAffinityThread(2)
        ExAcquireRundownProtectionCacheAware(ref)

        def owner(Context) -> None:
            ExWaitForRundownProtectionReleaseCacheAware(ref)
            order.append("run down")

        PsCreateSystemThread(OBJ_KERNEL_HANDLE, NULL, NULL, NULL, owner, NULL)
        pause()
        order.append(f"new {ExAcquireRundownProtectionCacheAware(ref)}")
        ExReleaseRundownProtectionCacheAware(ref)
        pause()
        order.append("one left")
        ExReleaseRundownProtectionCacheAware(ref)
        pause()
        return order

    assert value_of(body, processors=2) == ["new False", "one left", "run down"]


def test_memory_of_the_callers_own(value_of) -> None:
    def body() -> list:
        size = ExSizeOfRundownProtectionCacheAware()
        block = ExAllocatePoolWithTag(NonPagedPoolNx, size + 8, TAG)
        cast(int(block) + size, ULONGLONG)[0] = 0x5A5A
        ExInitializeRundownProtectionCacheAware(block, size)
        taken = ExAcquireRundownProtectionCacheAware(block)
        ExReleaseRundownProtectionCacheAware(block)
        ExWaitForRundownProtectionReleaseCacheAware(block)
        return [taken, cast(int(block) + size, ULONGLONG)[0] == 0x5A5A]

    assert value_of(body, processors=4) == [True, True]
