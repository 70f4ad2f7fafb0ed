"""Python drivers: loading, addresses, calls.

A driver's image is an address range like any other: a header page, .text with a slot for every code
object, .rdata for string literals, .data for module-level variables. A routine is called by its
address; the routine's local variables lie on the kernel stack until it returns to the kernel.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, NoReturn

from ntsim.abi import ntstatus
from ntsim.errors import DriverLoadError, Error, UnmodelledCode
from ntsim.host.blame import raised_in_ntsim
from ntsim.host.held_export import HeldExport
from ntsim.host.modules import PrivateModules, SourceError, all_codes
from ntsim.hw.ram import PAGE_SIZE
from ntsim.nt.events import ExceptionRaised
from ntsim.nt.kernel import Kernel
from ntsim.nt.ki import frames
from ntsim.nt.mm.images import Image, code_size
from ntsim.nt.rtl.codepage import ansi_encode, wide_encode
from ntsim.nt.rtl.exception import PYTHON_ERROR, StructuredException

RDATA_PAGES, DATA_PAGES = 8, 16
DEEPEST_FRAMES = 40
"""How much of an overflowed stack is kept."""

CALLABLE_TEXT = 0x2_0000
IMAGE_MARK = "__ntsim_image__"


class PythonHost:
    """Implements the kernel's `Host` for drivers written in Python."""

    def __init__(self, nt: Kernel) -> None:
        self.nt = nt
        self.files: dict[str, str] = {}
        self.routines: dict[int, tuple[Callable[..., Any], Image]] = {}
        self.by_file: dict[str, Image] = {}
        self.by_code: dict[CodeType, Image] = {}
        self.loading: list[Image] = []
        self.running: list[Image] = []
        self.user_modules: dict[str, Image] = {}

    # Images

    def load(self, target: Any, name: str | None = None) -> tuple[Image, Callable[..., Any]]:
        """An image for a .py path or a DriverEntry callable; DriverLoadError if it is no driver."""
        if callable(target) and not isinstance(target, (str, Path)):
            return self._image_of_callable(
                target, name or f"{target.__module__.split('.')[-1]}.sys"
            )
        return self._image_of_file(Path(target).resolve(), name)

    def _image_of_file(self, path: Path, name: str | None) -> tuple[Image, Callable[..., Any]]:
        file_name = name or path.with_suffix(".sys").name
        image = self._map(file_name, sum(code_size(c) + 32 for c in _codes_below(path)))
        modules = PrivateModules(path, self.nt.il.step, self.split, {IMAGE_MARK: image})
        self.loading.append(image)
        try:
            module = modules.run(path, path.stem)
        except SourceError as error:
            place = error.file, error.line
            self._refuse(image, place, error.message, ntstatus.STATUS_INVALID_IMAGE_FORMAT, error)
        except Error:
            self.discard(image)
            raise
        except (Exception, SystemExit) as error:
            text = f"{type(error).__name__}: {error}"
            missing = isinstance(error, NameError)
            code = (
                ntstatus.STATUS_PROCEDURE_NOT_FOUND
                if missing
                else ntstatus.STATUS_DRIVER_UNABLE_TO_LOAD
            )
            self._refuse(image, _last_line(error, modules.files, path), text, code, error)
        finally:
            self.loading.pop()
        for unknown, file, line_number in modules.unknown_names():
            text = f"{unknown} is neither a routine of Windows nor defined here"
            place = file, line_number
            self._refuse(image, place, text, ntstatus.STATUS_PROCEDURE_NOT_FOUND, None)
        for file in modules.files:
            self.files[file] = Path(file).name
        for compiled in modules.codes:
            for each in all_codes(compiled):
                if each.co_name != "<module>":
                    image.add_symbol(
                        each.co_qualname.replace(".<locals>", ""), code_size(each), each
                    )
        entry = module.__dict__.get("DriverEntry")
        if entry is None or not callable(entry):
            text = "no DriverEntry(DriverObject, RegistryPath) in this file"
            status = ntstatus.STATUS_DRIVER_ENTRYPOINT_NOT_FOUND
            self._refuse(image, (str(path), 1), text, status, None)
        image.path = str(path)
        return image, entry

    def _refuse(
        self,
        image: Image,
        place: tuple[str, int],
        text: str,
        status: int,
        cause: BaseException | None,
    ) -> NoReturn:
        """The load fails because of what stands at `place`, (file, line)."""
        self.discard(image)
        file, line = place
        raise DriverLoadError(f"{file}:{line}: {text}", status, file, line) from cause

    def _image_of_callable(
        self, entry: Callable[..., Any], file_name: str
    ) -> tuple[Image, Callable[..., Any]]:
        image = self._map(file_name, CALLABLE_TEXT)
        code = getattr(entry, "__code__", None)
        if code is not None:
            self._note_source(image, code)
        return image, entry

    def _note_source(self, image: Image, code: CodeType) -> None:
        """Code of a driver that is no file: it belongs to `image`, and so does its file's rest."""
        file = code.co_filename
        self.by_code[code] = image
        self.files.setdefault(file, Path(file).name)
        known = self.by_file.get(file)
        if known is None or known.unloaded:
            self.by_file[file] = image

    def _map(self, file_name: str, text_size: int) -> Image:
        """Address space and memory for header, .text, .rdata and .data."""
        mm = self.nt.mm
        text_pages = -(-(text_size + 0x1000) // PAGE_SIZE)
        read_only = 1 + text_pages + RDATA_PAGES
        pages = read_only + DATA_PAGES
        base = mm.images.reserve((pages + 15) & ~15)
        for page in range(pages):
            pa = mm.frames.take()
            va = base + page * PAGE_SIZE
            executable, writable = 0 < page <= text_pages, page >= read_only
            mm.system.map(va, [pa], executable=executable, writable=writable)
            if writable:
                mm.mmu.map_raw(va, mm.ram.address + pa, [pa])
            elif page == 0:
                mm.ram.write(pa, b"MZ")
        text = base + PAGE_SIZE
        rdata = text + text_pages * PAGE_SIZE
        data = base + read_only * PAGE_SIZE
        image = Image(file_name, base, pages * PAGE_SIZE, text, rdata)
        image.more_text = mm.images.reserve
        image.rdata, image.rdata_end = rdata, data
        image.data, image.data_end = data, base + pages * PAGE_SIZE
        return image

    def discard(self, image: Image) -> None:
        """Unmap an image; its routines are gone."""
        mm = self.nt.mm
        for address in image.routines:
            self.routines.pop(address, None)
        mm.system.free(mm.images, image.base, image.size // PAGE_SIZE)
        mm.images.freed.clear()

    # Addresses

    def register(self, image: Image, function: Callable[..., Any], name: str = "") -> int:
        """The address of `function` in `image`; of one made anew each time the same."""
        identity = identity_of(function)
        found = image.addresses.get(identity)
        if found is not None:
            return found
        code = getattr(function, "__code__", None)
        if code is not None and not image.path:
            self._note_source(image, code)
        label = name or getattr(function, "__name__", type(function).__name__)
        if code is not None and code in image.slots:
            symbol = image.slots[code]
            if symbol.address in self.routines:
                symbol = image.add_symbol(symbol.name, 16)
        elif code is not None:
            symbol = image.add_symbol(label, code_size(code), code)
        else:
            symbol = image.add_symbol(label, 16)
        image.addresses[identity] = symbol.address
        image.routines[symbol.address] = function
        self.routines[symbol.address] = (function, image)
        return symbol.address

    def address_of(self, function: Callable[..., Any]) -> int:
        """Address of a driver's routine: its own image, or the one whose code is running."""
        space = getattr(function, "__globals__", {})
        image = space.get(IMAGE_MARK)
        if image is None:
            image = self.current_image()
        if image is None:
            raise TypeError(f"{function!r} belongs to no loaded driver: it has no address")
        return self.register(image, function)

    def routine_at(self, address: int) -> Callable[..., Any] | None:
        """The Python routine that begins at `address`."""
        found = self.routines.get(address)
        return None if found is None else found[0]

    def current_image(self) -> Image | None:
        """The image being loaded, or whose routine the kernel called last."""
        if self.loading:
            return self.loading[-1]
        images = self.nt.thread.images
        return images[-1] if images else None

    def internal(self, nt: Kernel, function: Callable[..., Any]) -> int:
        """A routine of the kernel itself: callable by address with the kernel in front."""
        image = nt.nt_image
        name = frames.nt_symbol_name(function.__name__)
        assert name is not None, function
        symbol = image.slot_of(function.__code__, name)
        if symbol.address not in self.routines:
            self.routines[symbol.address] = _Internal(nt, function), image
        return symbol.address

    def export_address(self, name: str) -> int:
        """Where a routine lies that drivers reach by a pointer only, not by their imports."""
        return self.register(self.nt.nt_image, HeldExport(self.nt, name), name)

    def call_pointer(self, address: int, arguments: tuple[Any, ...]) -> Any:
        """A Python driver calls what a function pointer points to: as it calls an export, if it is
        one of the kernel's routines."""
        found = self.routines.get(address)
        if found is not None and isinstance(found[0], HeldExport):
            return found[0].face(*arguments)
        return self.call(address, arguments)

    # Storage

    def allocate(self, size: int, alignment: int) -> int:
        """A variable: .data while a module is executed, else the current kernel stack."""
        if self.loading:
            image = self.loading[-1]
            address = -(-image.data // alignment) * alignment
            image.data = address + size
            if image.data > image.data_end:
                raise MemoryError(
                    f"more than {DATA_PAGES * PAGE_SIZE} bytes of module-level variables"
                )
            return address
        thread = self.nt.thread
        address = (thread.storage - size) & ~(alignment - 1)
        if (
            thread.stack_limit <= thread.storage <= thread.stack_base
            and address < thread.stack_limit
        ):
            frame = frames.instruction_pointer(self.nt)
            self.nt.ki.double_fault(address, frame.address if frame else 0)
        thread.storage = address
        return address

    def text(self, text: str, wide: bool) -> int:
        """A string literal: NUL-terminated in the image's .rdata, which drivers cannot write.

        Equal literals of an image are one, as a compiler pools them; when the section is full they
        go on the kernel stack.
        """
        image = self.current_image()
        if image is not None and (found := image.literals.get((text, wide))) is not None:
            return found
        data = wide_encode(text) + b"\0\0" if wide else ansi_encode(text) + b"\0"
        if image is None or image.rdata + len(data) + 8 > image.rdata_end:
            address = self.allocate(len(data), 8)
            self.nt.mmu.write(address, data)
            return address
        address = -(-image.rdata // 8) * 8
        image.rdata = address + len(data)
        image.literals[text, wide] = address
        self._fill_read_only(address, data)
        return address

    def _fill_read_only(self, va: int, data: bytes) -> None:
        """What the loader does with a section's bytes: the page tables do not let software."""
        for page, start in pages_of(va, len(data)):
            pa = self.nt.mmu.physical(page)
            assert pa is not None, f"{page:#x} is not mapped"
            self.nt.mm.ram.write(pa, data[start : start + PAGE_SIZE - page % PAGE_SIZE])

    # Calls

    def call(self, address: int, arguments: tuple[Any, ...]) -> int:
        """Run the routine at `address` on the current kernel stack."""
        found = self.routines.get(address)
        if found is None:
            return self.call_code(address, arguments)
        function, image = found
        thread = self.nt.il.current.context
        storage = thread.storage
        thread.images.append(image)
        try:
            result = function(*arguments)
        except (StructuredException, Error):
            raise
        except RecursionError as error:
            self.stack_overflow(error)
        except (Exception, SystemExit) as error:
            raise self.python_error(error) from error
        finally:
            thread.storage = storage
            thread.images.pop()
        if result is None:
            return 0
        if isinstance(result, int):
            return int(result) & 0xFFFF_FFFF_FFFF_FFFF
        raise self.python_error(
            TypeError(f"{image.describe(address)} returned {result!r}: an integer is needed")
        )

    def call_code(self, address: int, arguments: tuple[Any, ...]) -> int:
        """No routine of a Python driver begins at `address`."""
        self.nt.mmu.fetch(address)
        self.nt.fail(UnmodelledCode(self.nt.describe_address(address)))

    def stack_overflow(self, error: RecursionError) -> NoReturn:
        """Python's recursion limit stands for the guard page: a double fault, 0x7F."""
        fault = StructuredException(PYTHON_ERROR, (), 0, str(error))
        fault.error = error
        fault.stack = frames.capture_traceback(self.nt, error.__traceback__)[:DEEPEST_FRAMES]
        rip = fault.stack[0].address if fault.stack else 0
        self.nt.ki.double_fault(self.nt.thread.stack_limit - 8, rip, fault)
        raise AssertionError("a double fault came back")

    def python_error(self, error: Exception | SystemExit) -> StructuredException:
        """A Python error in driver code as exception 0xE0507945; ntsim's own errors pass."""
        if raised_in_ntsim(error, PythonHost.call.__code__):
            raise error
        made = StructuredException(PYTHON_ERROR, (), 0, f"{type(error).__name__}: {error}")
        made.error = error
        made.stack = frames.capture_traceback(self.nt, error.__traceback__) or frames.capture(
            self.nt
        )
        made.ExceptionAddress = made.stack[0].address if made.stack else 0
        self.nt.emit_at(ExceptionRaised, f"{PYTHON_ERROR:#x}", made.reason)
        return made

    def locate(self, frame: FrameType) -> tuple[Image, str, bool] | None:
        """(image, symbol, user mode) of a frame of a driver, an app or a user-mode module."""
        code = frame.f_code
        space = frame.f_globals
        name = code.co_qualname.replace(".<locals>", "")
        image = (
            space.get(IMAGE_MARK) or self.by_code.get(code) or self.by_file.get(code.co_filename)
        )
        if image is not None:
            if name == "<module>":  # of an app's file: what runs as __main__
                main = is_user(image) and code.co_filename == image.path
                return (image, "__main__", True) if main else None
            return image, name.rpartition(".")[2], is_user(image)
        module = self.user_modules.get(space.get("__name__", ""))
        if module is not None and name[:1].isupper():
            return module, name, True
        return None

    # Points

    def split(self, value: Any) -> Any:
        """Between load and store of an augmented assignment."""
        self.nt.il.step()
        return value


class _Internal:
    """A routine of the kernel as it is called by its address; `inner` takes the kernel first."""

    __slots__ = ("inner", "nt")

    def __init__(self, nt: Kernel, inner: Callable[..., Any]) -> None:
        self.nt, self.inner = nt, inner

    def __call__(self, *arguments: Any) -> Any:
        return self.inner(self.nt, *arguments)


def pages_of(va: int, size: int) -> Iterator[tuple[int, int]]:
    """(address, offset in the range) where [va, va+size) begins and where it enters a new page."""
    yield va, 0
    for page in range((va | PAGE_SIZE - 1) + 1, va + size, PAGE_SIZE):
        yield page, page - va


def identity_of(function: Callable[..., Any]) -> Any:
    """Equal for functions that cannot be told apart: the same code, and no variables of its own."""
    if type(function) is not FunctionType:
        return function
    own = function.__closure__ or function.__defaults__ or function.__kwdefaults__
    return function if own else ("the function of", function.__code__)


def is_user(image: Image) -> bool:
    return image.base < 1 << 47


def _codes_below(path: Path) -> list[CodeType]:
    """Code objects of every module that loading `path` could execute, to size .text."""
    found = []
    for file in sorted({path, *path.parent.glob("*.py")}):
        try:
            code = compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
        except (OSError, SyntaxError, ValueError):
            continue
        found += list(all_codes(code)) * 2
    return found


def _last_line(error: BaseException, files: list[str], path: Path) -> tuple[str, int]:
    """(file, line) of the innermost frame in one of the driver's files."""
    steps = [s for s in traceback.extract_tb(error.__traceback__) if s.filename in files]
    return (steps[-1].filename, steps[-1].lineno or 1) if steps else (str(path), 1)
