"""The host of a machine: drivers in Python and compiled ones side by side.

A routine is called by its address; whether Python or machine code lies there is decided here. What
compiled drivers need is loaded with the first of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ntsim.abi.known_exports import VARIABLES
from ntsim.abi.services import service_numbers
from ntsim.host.fxsave import fxrstor, fxsave
from ntsim.host.python import PythonHost
from ntsim.host.registers import GuestRegisters
from ntsim.nt.exports import EXPORTS
from ntsim.nt.ki.frames import StackFrame
from ntsim.nt.ki.service_table import nt_service
from ntsim.nt.mm.images import Image
from ntsim.nt.mm.system_routine import SystemRoutine

if TYPE_CHECKING:
    from ntsim.host.kernel_image import KernelImage
    from ntsim.host.native import NativeCode
    from ntsim.host.native_image import NativeImage


class CompiledEntry:
    """Stands for a compiled driver's entry point where Python drivers have a function."""

    def __init__(self, native: NativeImage) -> None:
        self.native = native

    def __call__(self, *arguments: Any) -> int:
        raise AssertionError("a compiled entry point is called by its address")


class DriverHost(PythonHost):
    """Implements the kernel's `Host` for every kind of driver."""

    native: NativeCode | None = None
    _kernel_image: KernelImage | None = None

    @property
    def kernel_image(self) -> KernelImage:
        """nt's own image, made with the first driver."""
        return self._kernel_image or self._map_kernel()

    def _map_kernel(self) -> KernelImage:
        from ntsim.host.kernel_image import KernelImage

        made = self._kernel_image = KernelImage(self.nt)
        return made

    def compiled(self) -> NativeCode:
        """The compiled side, made when first needed."""
        if self.native is None:
            from ntsim.host.native import NativeCode

            self.native = NativeCode(self.nt, self)
        return self.native

    def stub(self, name: str, value: int | Callable[..., Any]) -> None:
        """Replace a routine of the kernel: for compiled drivers any, for Python drivers one that is
        not modelled."""
        self.nt.stubs[name] = value
        if self.native is not None:
            self.native.calls.replace_stubs()

    def load(self, target: Any, name: str | None = None) -> tuple[Image, Callable[..., Any]]:
        """An image for a .py or .sys path or a DriverEntry callable."""
        if self._kernel_image is None:
            self._map_kernel()
        if isinstance(target, (str, Path)) and Path(target).suffix.lower() == ".sys":
            native = self.compiled().load(Path(target).resolve(), name)
            return native.image, CompiledEntry(native)
        return super().load(target, name)

    def register(self, image: Image, function: Callable[..., Any], name: str = "") -> int:
        if isinstance(function, CompiledEntry):
            return function.native.entry
        return super().register(image, function, name)

    def variable(self, name: str) -> int:
        """Address of a kernel variable that drivers import; 0 for any other name."""
        return self.kernel_image.variable(name) if name in VARIABLES else 0

    def routine_address(self, name: str) -> int:
        from ntsim.host.kernel_image import exported_address

        return exported_address(name)

    def service_at(self, address: int) -> str:
        name = self.kernel_image.routine_at(address)
        return name if name in service_numbers() else ""

    def system_call(self, number: int, rip: int, registers: tuple[int, ...]) -> int | None:
        if not self.kernel_image.is_left():
            return None
        return self.compiled().system_calls.call(number, rip, registers)

    def vector_registers(self) -> bytes:
        caller = None if self.native is None else self.native.caller()
        return fxsave(None if caller is None else caller.words)

    def load_vector_registers(self, data: bytes) -> None:
        caller = None if self.native is None else self.native.caller()
        if caller is not None:
            fxrstor(data, caller.words)

    def is_fetched(self, address: int, code: bytes) -> bool:
        return self.kernel_image.is_fetched(address, code)

    def call_code(self, address: int, arguments: tuple[Any, ...]) -> int:
        """Run machine code; a page fault if `address` cannot be executed."""
        compiled = self.native
        if compiled is None or not (address in compiled.images or compiled.owns(address)):
            if name := self.kernel_image.routine_at(address):
                if name in service_numbers() and name not in EXPORTS:
                    return nt_service(self.nt, name)(*arguments)
                return SystemRoutine(self.nt, name)(*arguments)
            if self.kernel_image.has_code(address):  # changed by a driver
                return self.compiled().call(address, arguments)
            self.nt.mmu.fetch(address)
            if self.nt.images.at(address) is not None:  # the middle of a Python driver
                return super().call_code(address, arguments)
            compiled = self.compiled()
        if arguments and type(arguments[0]) is GuestRegisters:
            return compiled.call_handler(address, self.nt.il.current.vmx)
        return compiled.call(address, arguments)

    def discard(self, image: Image) -> None:
        native = None if self.native is None else self.native.loader.loaded.get(image.base)
        if native is None:
            super().discard(image)
        else:
            assert self.native is not None
            self.native.unload(native)

    def compiled_frames(self, frame: FrameType) -> list[StackFrame]:
        """The frames of the activation that a Python frame of `run_compiled` runs."""
        activation = frame.f_locals.get("activation")
        if activation is None or self.native is None:
            return []
        return self.native.stacks.frames(activation)

    def compiled_place(self, frame: FrameType) -> str:
        """Where that activation is executing."""
        activation = frame.f_locals.get("activation")
        if activation is None or self.native is None:
            return ""
        return self.native.stacks.place_of(activation)
