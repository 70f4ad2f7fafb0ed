"""I/O verification of remove locks: tags that pair, one initialization.

The free build of Windows ignores tags; Driver Verifier keeps a shadow of each lock that knows them.
Source: WDK "Using Remove Locks"; Bug Check 0xC4, 0xD5 to 0xD7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ntsim.abi import ntstatus
from ntsim.nt.vf.hooks import after, before
from ntsim.nt.vf.notes import Moment, Note

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.vf.verifier import Verifier


class Shadows:
    """By lock: where it was initialized, and the tags that hold it, in order of acquisition."""

    def __init__(self) -> None:
        self.made: dict[int, Moment] = {}
        self.tags: dict[int, list[tuple[int, Moment]]] = {}


def shadows(vf: Verifier) -> Shadows:
    found: Shadows = vf.part(Shadows)
    return found


@before("io", "IoInitializeRemoveLock IoInitializeRemoveLockEx")
def vi_initialize_remove_lock(vf: Verifier, nt: Kernel, Lock: Any, *rest: int) -> None:
    """0xD7: other threads may be using it."""
    known = shadows(vf)
    if int(Lock) in known.made:
        why = f"The remove lock at {int(Lock):#x} was initialized twice."
        notes = [Note("It was initialized before.", known.made[int(Lock)])]
        vf.violation(0xD7, int(Lock), int(Lock), why=why, notes=notes)
    known.made[int(Lock)], known.tags[int(Lock)] = vf.moment(), []


@after("io", "IoAcquireRemoveLock IoAcquireRemoveLockEx")
def vi_acquire_remove_lock(
    vf: Verifier, result: int, nt: Kernel, Lock: Any, Tag: int, *rest: int
) -> None:
    if result == ntstatus.STATUS_SUCCESS:
        shadows(vf).tags.setdefault(int(Lock), []).append((int(Tag), vf.moment()))


@before("io", "IoReleaseRemoveLock IoReleaseRemoveLockEx")
def vi_release_remove_lock(vf: Verifier, nt: Kernel, Lock: Any, Tag: int, *rest: int) -> None:
    """0xD5: nobody holds it with this tag."""
    if vi_take_tag(vf, int(Lock), int(Tag)):
        return
    why = f"IoReleaseRemoveLock was called with the tag {int(Tag):#x}, with which nobody holds the "
    vf.violation(
        0xD5, int(Lock), int(Tag), why=f"{why}lock at {int(Lock):#x}.", notes=vi_holders(vf, Lock)
    )


@before("io", "IoReleaseRemoveLockAndWait IoReleaseRemoveLockAndWaitEx")
def vi_release_and_wait(vf: Verifier, nt: Kernel, Lock: Any, Tag: int, *rest: int) -> None:
    """0xD6: the same; parameter 4 is a tag with which the lock is held."""
    if vi_take_tag(vf, int(Lock), int(Tag)):
        return
    why = f"IoReleaseRemoveLockAndWait was called with the tag {int(Tag):#x}, with which nobody "
    held = shadows(vf).tags.get(int(Lock), [])
    last = held[-1][0] if held else 0
    why += f"holds the lock at {int(Lock):#x}."
    vf.violation(0xD6, int(Lock), int(Tag), last, why=why, notes=vi_holders(vf, Lock))


def vi_take_tag(vf: Verifier, lock: int, tag: int) -> bool:
    """Whether the lock was held with the tag, which it is no longer."""
    held = shadows(vf).tags.setdefault(lock, [])
    place = next((i for i, (each, _) in enumerate(held) if each == tag), None)
    if place is not None:
        del held[place]
    return place is not None


def vi_holders(vf: Verifier, lock: Any) -> list[Note]:
    held = shadows(vf).tags.get(int(lock), [])
    return [Note(f"The lock was acquired with the tag {tag:#x}.", at) for tag, at in held]


@before("io", "IoDeleteDevice")
def vi_forget_remove_locks(vf: Verifier, nt: Kernel, DeviceObject: Any) -> None:
    """A lock in a device extension goes with it."""
    known, start = shadows(vf), int(DeviceObject)
    end = start + DeviceObject._v.Size
    for lock in [each for each in known.made if start <= each < end]:
        del known.made[lock]
        known.tags.pop(lock, None)
