"""Export drivers: images that are loaded because a compiled driver imports from them.

Such a file lies beside the one that imports, as in System32\\drivers. DriverEntry of it is not
called; DllInitialize is, once it is bound, and DllUnload when no driver uses it any more. One
without DllUnload stays. Source: WDK, "Creating Export Drivers"; reactos/reactos
ntoskrnl/mm/ARM3/sysldr.c (which images are unloaded).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ntsim.abi import ntstatus
from ntsim.abi.rtl import UNICODE_STRING
from ntsim.errors import DriverLoadError
from ntsim.host.dependencies import beside
from ntsim.nt.events import DriverLoaded, DriverUnloaded
from ntsim.nt.io.driver import make_unicode, mi_link_image, mi_unload_image
from ntsim.nt.ob.objects import set_unicode

if TYPE_CHECKING:
    from ntsim.host.native import NativeCode
    from ntsim.host.native_image import NativeImage

_SERVICES = "\\REGISTRY\\MACHINE\\SYSTEM\\ControlSet001\\Services"


class Libraries:
    """The export drivers of one machine that were loaded by themselves."""

    def __init__(self, code: NativeCode) -> None:
        self.code, self.nt = code, code.nt
        self.users: dict[int, int] = {}
        """How many images import from the one at this base."""
        self._used: dict[int, list[NativeImage]] = {}
        self._binding: list[str] = []
        self._fresh: list[NativeImage] = []
        code.loader.find_library = self.find

    def load(self, path: Path, name: str | None) -> NativeImage:
        """Map a driver and what it imports from."""
        assert not self._fresh
        if any(self.code.loader.loaded[base].image.path == str(path) for base in self.users):
            text = f"{path}: it is loaded already, for the drivers that import from it"
            raise DriverLoadError(text, ntstatus.STATUS_IMAGE_ALREADY_LOADED, str(path))
        try:
            made = self.code.loader.load(path, name)
        except DriverLoadError:
            while self._fresh:
                self.code.loader.unload(self._fresh.pop())
            raise
        fresh, self._fresh = self._fresh, []
        for native in fresh:
            self.users[native.image.base] = 0
        for native in (*fresh, made):
            self._note_uses(native)
        for native in fresh:
            status = self._begin(native)
            if not ntstatus.NT_SUCCESS(status):
                self.code.unload(made)
                text = f"{path}: DllInitialize of {native.image.file_name} returned"
                raise DriverLoadError(f"{text} {ntstatus.status_name(status)}", status, str(path))
        return made

    def find(self, path: Path, module: str) -> NativeImage | None:
        """The image of a file beside the one that imports from it; None if there is none."""
        wanted = module.lower()
        if wanted in self._binding:
            text = f"{path}: it and {module} import from each other"
            raise DriverLoadError(text, ntstatus.STATUS_DRIVER_UNABLE_TO_LOAD, str(path))
        file = beside(path, module)
        if file is None or file == path:
            return None
        self._binding.append(wanted)
        try:
            native = self.code.loader.load(file)
        finally:
            self._binding.pop()
        self._fresh.append(native)
        return native

    def _note_uses(self, native: NativeImage) -> None:
        modules = {wanted.module.lower() for wanted in native.pe.imports}
        loaded = self.code.loader.loaded
        used = [loaded[base] for base in self.users if _name(loaded[base]) in modules]
        self._used[native.image.base] = used
        for library in used:
            self.users[library.image.base] += 1

    def _begin(self, native: NativeImage) -> int:
        """The library is a module of the system from here; DllInitialize, if it has one."""
        nt, image = self.nt, native.image
        image.entry_point = native.entry
        mi_link_image(nt, image)
        nt.emit(DriverLoaded, image.file_name, image.base)
        place = native.pe.exports.get("DllInitialize")
        if place is None:
            return ntstatus.STATUS_SUCCESS
        path = f"{_SERVICES}\\{image.module_name}"
        string = UNICODE_STRING.at(nt.mmu, nt.allocate_pool(UNICODE_STRING.size, "Io  "))
        text = make_unicode(nt, path)
        set_unicode(string, text, len(path) * 2)
        status = nt.call(image.base + place, string) & 0xFFFF_FFFF
        nt.free_pool(text)
        nt.free_pool(int(string))
        return status

    def unloaded(self, native: NativeImage) -> None:
        """An image is gone: so are the libraries that nobody else uses, if they agree."""
        base = native.image.base
        self.users.pop(base, None)
        for library in self._used.pop(base, ()):
            self.users[library.image.base] -= 1
            if not library.image.owner:  # its DllInitialize has not been called
                self.code.unload(library)
                continue
            place = library.pe.exports.get("DllUnload")
            if self.users[library.image.base] or place is None:
                continue
            status = self.nt.call(library.image.base + place) & 0xFFFF_FFFF
            if ntstatus.NT_SUCCESS(status):
                self.nt.emit(DriverUnloaded, library.image.file_name)
                mi_unload_image(self.nt, library.image)


def _name(native: NativeImage) -> str:
    return native.image.file_name.lower()
