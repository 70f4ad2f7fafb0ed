"""Images in user space: the system's modules, shared by all processes, and each app's own.

Only pages with content are present: headers and, in ntdll, the system-service stubs. Functions of
the Python modules `ntdll`, `kernelbase` and `kernel32` have addresses in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from ntsim.abi import winnt_constants as w
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.mm.images import SLOT_ALIGNMENT, Image, code_size
from ntsim.nt.mm.protection import SHARED, entry_for
from ntsim.nt.mm.user_space import IMAGE, UserSpace
from ntsim.um import kernel32, kernelbase, layout, ntdll

if TYPE_CHECKING:
    from ntsim.nt.kernel import Kernel

TEXT_OF_IMPORTS = 0x20_0000
"""Bytes of an app's .text for code that is not known when the process is made."""

_READ_ONLY, _EXECUTE_READ = 1, 3
"""Protections in a software page-table entry."""

_STUB = bytes.fromhex("4c8bd1 b8 00000000 f604250803fe7f01 7503 0f05 c3 cd2e c3")
"""mov r10,rcx; mov eax,number; test byte ptr [7FFE0308h],1; jne; syscall; ret; int 2Eh; ret."""

_FIXED: dict[str, dict[str, tuple[int, int]]] = {
    "ntdll": {"RtlUserThreadStart": (layout.NTDLL_BASE + 0x4_CE20, 0x21)},
    "kernelbase": {"DeviceIoControl": (layout.KERNELBASE_BASE + 0x3_8B80, 0x6B)},
    "kernel32": {
        "DeviceIoControlImplementation": (layout.KERNEL32_BASE + 0x1_5530, 0x81),
        "BaseThreadInitThunk": (layout.KERNEL32_BASE + 0x1_7020, 0x14),
    },
}
"""Functions at the places of real images: address, and offset of the instruction they are called
from there."""


class SystemModule:
    """One of the system's modules: its image and the frames that every process maps."""

    def __init__(self, image: Image, pages: dict[int, tuple[int, int]]) -> None:
        self.image, self.pages = image, pages

    def map_into(self, space: UserSpace) -> None:
        """Map the shared pages into a process."""
        made = space.reserve(
            self.image.size, self.image.base, w.PAGE_EXECUTE_WRITECOPY, IMAGE
        )
        assert made is not None, f"{self.image.base:#x} is taken"
        for va, (pa, protection) in self.pages.items():
            space.mm.mmu.write_entry(space.root, va, entry_for(pa, protection) | SHARED)


def load_system_modules(nt: Kernel) -> list[SystemModule]:
    """ntdll, KERNELBASE and KERNEL32 of a machine."""
    return [
        _system_module(nt, ntdll, "ntdll.dll", "ntdll", layout.NTDLL_BASE, layout.NTDLL_SIZE),
        _system_module(
            nt, kernelbase, "KERNELBASE.dll", "KERNELBASE",
            layout.KERNELBASE_BASE, layout.KERNELBASE_SIZE,
        ),
        _system_module(
            nt, kernel32, "KERNEL32.DLL", "KERNEL32", layout.KERNEL32_BASE, layout.KERNEL32_SIZE
        ),
    ]  # fmt: skip


def _system_module(
    nt: Kernel, module: ModuleType, file_name: str, name: str, base: int, size: int
) -> SystemModule:
    text = base + PAGE_SIZE
    image = Image(file_name, base, size, text, base + size, name)
    image.path = f"C:\\WINDOWS\\System32\\{file_name}"
    short = module.__name__.rpartition(".")[2]
    _add_symbols(image, module, _FIXED[short])
    pages = {base: (_shared_page(nt, b"MZ"), _READ_ONLY)}
    if module is ntdll:
        _add_stubs(image)
        pages |= _stub_pages(nt)
    nt.images.add(image)
    nt.host.user_modules[module.__name__] = image  # type: ignore[attr-defined]
    return SystemModule(image, pages)


def _add_symbols(image: Image, module: ModuleType, fixed: dict[str, tuple[int, int]]) -> None:
    """The module's routines, then those at known places, by rising address."""
    for name, function in vars(module).items():
        own = isinstance(function, FunctionType) and function.__module__ == module.__name__
        if own and name[:1].isupper() and name not in fixed and name not in ntdll.SERVICES:
            image.add_symbol(name, code_size(function.__code__), function.__code__)
    for name, (address, offset) in sorted(fixed.items(), key=lambda item: item[1]):
        place_symbol(image, name, address, 0x100, getattr(module, name).__code__, offset)


def place_symbol(
    image: Image, name: str, address: int, size: int, code: CodeType, offset: int
) -> None:
    """A symbol at a chosen address above those before it; its frames show `offset`."""
    assert address >= image.text, f"{image.file_name}: {name} lies below symbols added before"
    image.text = address
    image.add_symbol(name, size, code)
    image.addresses[code] = address + offset


def _add_stubs(image: Image) -> None:
    for name, (number, stub) in sorted(ntdll.SERVICES.items(), key=lambda item: item[1][0]):
        address = layout.SERVICE_STUBS + number * layout.STUB_SIZE
        place_symbol(image, name, address, 24, stub.__code__, layout.SYSCALL_RETURN)


def _stub_pages(nt: Kernel) -> dict[int, tuple[int, int]]:
    """The pages with the stubs of every system service of the build."""
    first = layout.SERVICE_STUBS & ~0xFFF
    end = layout.SERVICE_STUBS + ntdll.SERVICE_COUNT * layout.STUB_SIZE
    content = bytearray(b"\xcc" * (-(-end // PAGE_SIZE) * PAGE_SIZE - first))
    for number in range(ntdll.SERVICE_COUNT):
        at = layout.SERVICE_STUBS + number * layout.STUB_SIZE - first
        stub = _STUB[:4] + number.to_bytes(4, "little") + _STUB[8:]
        content[at : at + len(stub)] = stub
    return {
        first + at: (_shared_page(nt, content[at : at + PAGE_SIZE]), _EXECUTE_READ)
        for at in range(0, len(content), PAGE_SIZE)
    }


def _shared_page(nt: Kernel, content: bytes | bytearray) -> int:
    """A frame with `content`."""
    pa = nt.mm.frames.take()
    nt.mm.ram.write(pa, content)
    return pa


def make_exe(nt: Kernel, file_name: str, base: int, codes: Iterable[CodeType]) -> Image:
    """The image of an app, with room for its code objects and those of modules it imports."""
    text = sum(code_size(code) + SLOT_ALIGNMENT for code in codes) + TEXT_OF_IMPORTS
    pages = 1 + -(-text // PAGE_SIZE)
    size = -(-pages // 16) * 16 * PAGE_SIZE
    image = Image(file_name, base, size, base + PAGE_SIZE, base + size)
    nt.images.add(image)
    return image


def routine_address(image: Image, function: Callable[..., Any]) -> int:
    """The address of an app's function."""
    found = image.addresses.get(function)
    if found is None:
        code = getattr(function, "__code__", None)
        name = getattr(function, "__name__", type(function).__name__)
        symbol = image.slot_of(code, name) if code is not None else image.add_symbol(name, 16)
        found = image.addresses[function] = symbol.address
    return found


assert len(_STUB) == 24 and _STUB[layout.SYSCALL_RETURN - 2 : layout.SYSCALL_RETURN] == b"\x0f\x05"
