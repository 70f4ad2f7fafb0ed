"""Processes of apps: `start_app`, and a process's user-mode side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntsim.abi import winnt_constants as w
from ntsim.errors import ConfigurationError
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.mm.user_space import IMAGE
from ntsim.um import layout
from ntsim.um.app_file import FileProgram
from ntsim.um.console import ProcessStream
from ntsim.um.heap import Heap
from ntsim.um.images import routine_address
from ntsim.um.program import CallableProgram, run_to_exit_code
from ntsim.um.state import user_mode
from ntsim.um.thread import UserThread, map_page

if TYPE_CHECKING:
    from ntsim.nt.ke.thread import Thread
    from ntsim.nt.kernel import Kernel
    from ntsim.um.overlapped import OVERLAPPED

Program = FileProgram | CallableProgram


class UserProcess:
    """An app's process, as `Machine.run` returns it and as the kernel knows it (`Process.um`).

    `attention` is set when a thread is to end: user-mode code looks at its next scheduling point.
    """

    def __init__(self, nt: Kernel, name: str, program: Program) -> None:
        self.nt, self.name, self.program = nt, name, program
        self.out = ProcessStream("stdout", lambda text: nt.said("stdout", text))
        self.err = ProcessStream("stderr", lambda text: nt.said("stderr", text))
        self.attention = False
        self.kernel = nt.ps.create_process(name)
        self.kernel.um = self
        um = user_mode(nt)
        self.image = um.new_exe(name, program.codes)
        program.adopt(self)
        for module in um.modules:
            module.map_into(self.kernel.user)
        um.map_shared_data(self.kernel.user)
        self.heap = Heap(self.kernel.user)
        self.slot_memory: dict[int, int] = {}
        self.slots: list[UserThread] = []
        self.calls: dict[int, Callable[[], Any]] = {}
        self.overlapped: dict[int, OVERLAPPED] = {}
        self._next_call = 0
        self._map_image()
        self.first_thread = self._create_first_thread()

    def __repr__(self) -> str:
        code = self.exit_code
        state = "running" if code is None else f"exit code {code:#x}"
        return f"<process {self.name} ({self.pid}), {state}>"

    # What the machine's owner sees

    @property
    def pid(self) -> int:
        """The process id."""
        return self.kernel.pid

    @property
    def exit_code(self) -> int | None:
        """None while the process lives."""
        ended = self.kernel.e._v.Pcb_Header_SignalState
        return self.kernel.exit_code if ended else None

    @property
    def stdout(self) -> str:
        """What the process has printed."""
        return self.out.text()

    @property
    def stderr(self) -> str:
        """What it has printed to stderr, tracebacks included."""
        return self.err.text()

    # Set-up

    def _map_image(self) -> None:
        """The exe's range with its header page, and the PEB."""
        space, image = self.kernel.user, self.image
        made = space.reserve(image.size, image.base, w.PAGE_EXECUTE_WRITECOPY, IMAGE)
        assert made is not None, f"{image.base:#x} is taken"
        ram = self.nt.mm.ram
        ram.write(map_page(space, image.base), b"MZ")
        peb_range = space.reserve(0x1000, layout.PEB)
        assert peb_range is not None, f"{layout.PEB:#x} is taken"
        peb = map_page(space, layout.PEB)
        ram.write(peb + 0x10, image.base.to_bytes(8, "little"))
        ram.write(peb + 0xB8, len(self.nt.processors).to_bytes(4, "little"))
        for offset, value in ((0x118, 10), (0x11C, 0), (0x120, 19041)):
            ram.write(peb + offset, value.to_bytes(4, "little"))
        e = self.kernel.e._v
        e.Peb, e.SectionBaseAddress = layout.PEB, image.base

    def _create_first_thread(self) -> UserThread:
        function = getattr(self.program, "function", self.program.run)
        made = self._new_thread(routine_address(self.image, function), 0)
        made.work = lambda: run_to_exit_code(made, lambda: self.program.run(self))
        made.ends_process = True
        self.image.entry_point = made.start_routine
        return made

    # Threads, called by the kernel

    def create_thread(self, start_routine: int, argument: int, stack_size: int) -> Thread | None:
        """A thread that will make the call kept as `argument`; None if memory is short."""
        try:
            made = self._new_thread(start_routine, argument)
        except OutOfFrames:
            return None
        call = self.calls.pop(argument)
        made.work = lambda: run_to_exit_code(made, call)
        return made.thread

    def _new_thread(self, start_routine: int, argument: int) -> UserThread:
        thread: Thread
        thread = self.nt.ps.create_thread(
            self.kernel, lambda: made.start(), start_address=start_routine
        )
        slot = self._free_slot()
        made = UserThread(self, slot, thread)
        self.slots[slot : slot + 1] = [made]
        made.start_routine, made.argument = start_routine, argument
        try:
            made.map_memory()
        except OutOfFrames:
            self.nt.ps.discard_thread(thread)
            raise
        return made

    def _free_slot(self) -> int:
        """The first stack whose thread has ended, or a new one."""
        ended = (i for i, user in enumerate(self.slots) if user.thread.exit_status is not None)
        return next(ended, len(self.slots))

    # Routines as addresses, calls as arguments

    def keep_call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
        """A number that stands for a call until it is made: what the kernel carries around."""
        self._next_call += 0x10
        address = layout.HEAP + self._next_call
        self.calls[address] = lambda: function(*arguments)
        return address

    def routine(self, function: Callable[..., Any]) -> int:
        """The user address of a Python callable."""
        return routine_address(self.image, function)

    # Scheduling points

    def point(self) -> None:
        """An inserted scheduling point of the app; a thread that is to end ends here."""
        self.nt.il.step()
        if self.attention:
            thread = self.nt.thread
            if thread.on_exit and thread.process is self.kernel:
                thread.in_kernel = True
                self.nt.ki.exit_apcs(thread)
                thread.in_kernel = False

    def split(self, value: Any) -> Any:
        """Between load and store of an augmented assignment."""
        self.point()
        return value


def start_app(nt: Kernel, target: Any, name: str | None = None, args: Any = ()) -> UserProcess:
    """A process that runs `target`, a .py path or a callable; ready, not yet run.

    ConfigurationError if the file is missing or does not parse, or RAM is used up.
    """
    program = program_of(target, tuple(args))
    label = name or program.name
    label = label if "." in label else f"{label}.exe"
    try:
        process = UserProcess(nt, label, program)
    except OutOfFrames:
        raise ConfigurationError(
            f"no memory is left for {label}: build the machine with more memory_mb"
        ) from None
    user_mode(nt).processes.append(process)
    thread = process.first_thread.thread
    nt.ps.start_thread(thread)
    nt.ob.dereference(thread.va)
    return process


def program_of(target: Any, args: tuple[Any, ...]) -> Program:
    """What to run for a path or a callable."""
    if isinstance(target, (str, Path)):
        path = Path(target)
        if not path.is_file():
            raise ConfigurationError(f"{path}: no such app file")
        return FileProgram(path, args)
    if not callable(target):
        raise ConfigurationError(f"{target!r} is neither the path of an app nor callable")
    return CallableProgram(target, args)
