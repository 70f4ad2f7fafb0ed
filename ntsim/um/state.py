"""User mode's state in one machine: the mapped system modules, app images, services."""

from __future__ import annotations

from collections.abc import Iterable
from types import CodeType
from typing import TYPE_CHECKING, Any

from ntsim.abi import winnt_constants as w
from ntsim.nt.mm import layout as nt_layout
from ntsim.nt.mm.images import Image
from ntsim.nt.mm.protection import SHARED, entry_for
from ntsim.nt.mm.user_space import UserSpace
from ntsim.nt.ob.namespace import ob_create_link
from ntsim.um import layout
from ntsim.um.images import load_system_modules, make_exe

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel
    from ntsim.um.process import UserProcess

_READ_ONLY = 1


class UserMode:
    """What `Kernel.um` is: system modules, app images, and the service controller's handles."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.modules = load_system_modules(nt)
        self.processes: list[UserProcess] = []
        self.service_handles: dict[int, Any] = {}
        self.service_handles_made = 0
        self.marked_services: set[str] = set()
        self.next_exe = layout.EXE_BASE
        ob_create_link(nt, "\\GLOBAL??\\GLOBALROOT", "")
        ob_create_link(nt, "\\GLOBAL??\\Global", "\\GLOBAL??")

    def new_exe(self, name: str, codes: Iterable[CodeType]) -> Image:
        """The image of another app; those of apps that have ended leave the list of images."""
        for process in self.processes:
            if process.exit_code is not None and not process.image.unloaded:
                self.nt.images.remove(process.image)
                process.program.disown(process)
        image = make_exe(self.nt, name, self.next_exe, codes)
        self.next_exe += image.size
        return image

    def map_shared_data(self, space: UserSpace) -> None:
        """KUSER_SHARED_DATA, read-only, at its user address."""
        va = nt_layout.KUSER_SHARED_DATA_USER
        pa = self.nt.mmu.physical(nt_layout.KUSER_SHARED_DATA_VA)
        made = space.reserve(0x1000, va, w.PAGE_READONLY)
        assert made is not None and pa is not None, "KUSER_SHARED_DATA is not mapped"
        space.mm.mmu.write_entry(space.root, va, entry_for(pa, _READ_ONLY) | SHARED)


def user_mode(nt: Kernel) -> UserMode:
    """The machine's user mode, set up at first use."""
    found = getattr(nt, "um", None)
    if not isinstance(found, UserMode):
        found = nt.um = UserMode(nt)
    return found
