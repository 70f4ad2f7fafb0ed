"""Driver Verifier's automatic checks of MDLs.

Source: WDK Bug Check 0xC4, parameter 1 = 0x70 to 0x7F, 0x82, 0xB0 to 0xB6.
"""

import pytest

from ntsim.wdm import *

MISC = {"verifier": "misc"}


def buffer(pool: int = NonPagedPoolNx) -> int:
    return ExAllocatePoolWithTag(pool, 64, 1)


def mdl(pool: int = PagedPool):
    return IoAllocateMdl(buffer(pool), 64, FALSE, FALSE, NULL)


def locked():
    made = mdl()
    MmProbeAndLockPages(made, KernelMode, IoReadAccess)
    return made


def nonpaged():
    made = mdl(NonPagedPoolNx)
    MmBuildMdlForNonPagedPool(made)
    return made


def map_locked(made, mode: int = KernelMode, stop: int = FALSE):
    return MmMapLockedPagesSpecifyCache(made, mode, MmCached, NULL, stop, NormalPagePriority)


@pytest.mark.parametrize(
    ("make", "use", "kind"),
    [
        (mdl, lambda m: MmProbeAndLockPages(m, KernelMode, IoReadAccess), 0x70),
        (locked, lambda m: MmUnlockPages(m), 0x78),
        (locked, lambda m: map_locked(m), 0x76),
        (locked, lambda m: map_locked(m, UserMode), 0x77),
    ],
)
def test_a_routine_above_its_level(bugcheck_of, make, use, kind: int) -> None:
    where = []

    def body() -> None:
        made = make()
        where.append(int(made))
        KeRaiseIrql(HIGH_LEVEL)
        use(made)

    found = bugcheck_of(body, **MISC)
    assert (found.code, *found.parameters[:3]) == (0xC4, kind, HIGH_LEVEL, where[0])


def test_unmapping_above_its_level(bugcheck_of) -> None:
    where = []

    def body() -> None:
        made = locked()
        where.append((map_locked(made), int(made)))
        KeRaiseIrql(HIGH_LEVEL)
        MmUnmapLockedPages(where[0][0], made)

    assert bugcheck_of(body, **MISC).parameters == (0x79, HIGH_LEVEL, *where[0])


@pytest.mark.parametrize(
    ("make", "use", "kind"),
    [
        (locked, lambda m: MmProbeAndLockPages(m, KernelMode, IoReadAccess), 0xB0),
        (nonpaged, lambda m: MmProbeAndLockPages(m, KernelMode, IoReadAccess), 0xB0),
        (mdl, lambda m: MmUnlockPages(m), 0x7C),
        (nonpaged, lambda m: MmUnlockPages(m), 0x7D),
        (nonpaged, lambda m: map_locked(m), 0xB2),
        (mdl, lambda m: map_locked(m), 0xB3),
        (locked, lambda m: map_locked(m, KernelMode, TRUE), 0x82),
        (locked, lambda m: MmUnmapLockedPages(0xFFFF_9A00_0000_0000, m), 0xB6),
    ],
)
def test_an_mdl_in_a_state_that_does_not_allow_it(bugcheck_of, make, use, kind: int) -> None:
    where = []

    def body() -> None:
        made = make()
        where.append((int(made), made.MdlFlags))
        use(made)

    found = bugcheck_of(body, **MISC)
    assert (found.code, *found.parameters[:3]) == (0xC4, kind, *where[0])


@pytest.mark.parametrize("verifier", ["misc", "misc,special-pool"])
def test_an_mdl_of_paged_pool_built_as_nonpaged(bugcheck_of, verifier: str) -> None:
    where = []

    def body() -> None:
        made = mdl(PagedPool)
        where.append(int(made))
        MmBuildMdlForNonPagedPool(made)

    found = bugcheck_of(body, verifier=verifier)
    assert (found.code, *found.parameters[:3]) == (0xC4, 0x7F, 0, where[0])


@pytest.mark.parametrize("pool", [NonPagedPoolNx, PagedPool])
def test_the_usual_life_of_an_mdl_passes(value_of, pool: int) -> None:
    def body() -> bytes:
        block = buffer(pool)
        write_bytes(block, b"seen through a mapping")
        made = IoAllocateMdl(block, 64, FALSE, FALSE, NULL)
        MmProbeAndLockPages(made, KernelMode, IoReadAccess)
        found = read_bytes(MmGetSystemAddressForMdlSafe(made, NormalPagePriority), 22)
        MmUnlockPages(made)
        IoFreeMdl(made)
        ExFreePool(block)
        return found

    assert value_of(body, verifier="standard") == b"seen through a mapping"


@pytest.mark.parametrize(
    ("use", "kind"),
    [
        (lambda: MmMapIoSpace(0xFEE00000, 16, MmNonCached), 0x73),
        (lambda: MmUnmapIoSpace(16, 16), 0x7B),
    ],
)
def test_device_memory_above_its_level(bugcheck_of, use, kind: int) -> None:
    def body() -> None:
        KeRaiseIrql(HIGH_LEVEL)
        use()

    assert bugcheck_of(body, **MISC).parameters[:2] == (kind, HIGH_LEVEL)
