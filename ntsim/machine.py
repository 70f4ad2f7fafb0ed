"""The public Machine: power, drivers, apps, and what happened (SURFACE "Machine")."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from ntsim.abi import ntstatus
from ntsim.arguments import (
    PROCESSORS,
    SEED,
    check_memory,
    cpu_model,
    image_name_of,
    schedule_of,
    target_of,
    verifier_settings,
)
from ntsim.boot import BootOptions, boot, start_verifier
from ntsim.devices import Device, bind_driver, hardware_of, plug_in, sleep_state
from ntsim.errors import (
    BugCheck,
    ConfigurationError,
    DriverLoadError,
    Error,
    Hang,
    MachineClosed,
    UnmodelledRoutine,
)
from ntsim.host.outside import refused_to_simulated_code
from ntsim.hw.cpu_model import CpuModel
from ntsim.hw.strategy import schedule as schedules
from ntsim.nt.events import DriverLoaded
from ntsim.nt.io.driver import (
    Driver,
    iop_create_driver,
    iop_load_driver,
    iop_load_unload_driver,
    iop_unload_driver,
    mi_link_image,
)
from ntsim.nt.ke.thread import WAITING
from ntsim.nt.ke.wait import ki_describe_objects
from ntsim.nt.mm.frames import OutOfFrames
from ntsim.nt.pnp.guids import guid_bytes, guid_text
from ntsim.nt.po.settings import po_set_setting
from ntsim.nt.po.system import po_shut_down, po_sleep, po_wake
from ntsim.nt.ps.system_thread import ACTIVE_EX_WORKER, psp_create_system_thread

if TYPE_CHECKING:
    from ntsim.hw.interleave import Interleaver
    from ntsim.nt.events import Event
    from ntsim.nt.kernel import Kernel
    from ntsim.um.process import UserProcess

__all__ = ["CpuModel", "Machine"]

DEADLOCK_CHECK_100NS = 60 * 10_000_000
AFTER_THE_LAST_APP_100NS = 6_000_000_000


class Machine:
    """A simulated multi-processor machine with an NT kernel on it; a context manager.

    `processors` 1 to 64, `memory_mb` of RAM, `seed` chooses memory layout and, with `strategy`
    None, the schedule (round robin for 0, seeded random otherwise). `schedule` replays a recorded
    run. `verifier` is "standard", or names of Driver Verifier's options and rules separated by
    commas; `name.sys` among them restricts it to that driver. `cpu` is a model's name or a
    CpuModel. `record` keeps events. ConfigurationError and ScheduleError say what to change.
    """

    def __init__(
        self,
        *,
        processors: int = PROCESSORS,
        memory_mb: int = 64,
        seed: int = SEED,
        strategy: str | None = None,
        schedule: str | None = None,
        verifier: Any = None,
        cpu: str | CpuModel = "i7-6820HQ",
        record: bool = True,
    ) -> None:
        plan = schedule_of(processors, seed, strategy, schedule)
        check_memory(memory_mb, plan.processors)
        settings = None if verifier is None else verifier_settings(verifier)
        self.processors, self.seed = plan.processors, plan.seed
        self._plan = plan
        self._closed = self._off = False
        self._crash: BugCheck | None = None
        self._failure: BaseException | None = None
        model = cpu_model(cpu)
        self.nt: Kernel = boot(
            BootOptions(
                plan.processors, memory_mb << 20, plan.seed, schedules.Replay(plan), model, record
            )
        )
        if settings is not None:
            start_verifier(self.nt, settings, plan.seed)
        self.nt.io.loader = partial(load_service, self.nt)
        self._processes: list[UserProcess] = []

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Running

    def load_driver(self, target: Any, *, name: str | None = None) -> Driver:
        """Load a driver (.py path, module or DriverEntry callable) and run its DriverEntry.

        `name` is the image's, with or without .sys. DriverLoadError with the status if the file is
        unusable or DriverEntry fails.
        """
        self._check_usable()
        found, image_name = target_of(target), image_name_of(name)
        driver: Driver = self._in_system_thread(partial(load, self.nt, found, image_name))
        if not ntstatus.NT_SUCCESS(driver.status):
            where = driver.image.path or driver.image.file_name
            text = f"{where}: DriverEntry returned {ntstatus.status_name(driver.status)}"
            raise DriverLoadError(text, driver.status)
        return driver

    def stub(self, name: str, value: int | Callable[..., Any]) -> None:
        """Replace a kernel routine: a call of `name` returns `value`, or what that function does.

        Compiled drivers see it for any routine; Python drivers for one that is not modelled. The
        function is called with as many of the caller's arguments, 64-bit unsigned numbers, as it
        has parameters. Give stubs before the first driver is loaded.
        """
        if not callable(value) and not (isinstance(value, int) and -(1 << 63) <= value < 1 << 64):
            raise ConfigurationError(f"stub of {name}: {value!r} is no number and no function")
        self._check_usable()
        self.nt.host.stub(name, value)

    def unload_driver(self, driver: Driver) -> None:
        """Stop the driver's service: DriverUnload, then the image goes.

        DriverLoadError if the driver has no DriverUnload, ConfigurationError if it is not loaded.
        """
        self._check_usable()
        loaded = isinstance(driver, Driver) and driver in self.nt.io.drivers.values()
        if not loaded or driver.unloaded:
            raise ConfigurationError(f"{driver!r} is no driver that is loaded on this machine")
        status = self._in_system_thread(partial(iop_unload_driver, self.nt, driver))
        if not ntstatus.NT_SUCCESS(status):
            text = f"{driver.image.file_name} has no DriverUnload: it cannot be stopped"
            raise DriverLoadError(text, status)

    def plug(self, hardware_id: str, driver: Driver | None = None, **properties: Any) -> Device:
        """Put a device on the root bus: its driver's AddDevice runs, then the device is started.

        Without `driver`, one that `bind` has named for the hardware ID is taken; without either the
        device waits for its driver. `properties`: see docs/devices.md. ConfigurationError if
        resources are taken or a property is unknown.
        """
        hardware, sizes, filters = hardware_of(hardware_id, properties)
        if driver is not None:
            self.bind(hardware_id, driver)
        self._check_usable()
        return Device(self, self._settled(partial(plug_in, self.nt, hardware, sizes, filters)))

    def bind(self, hardware_id: str, driver: Driver) -> None:
        """Make `driver` the function driver of devices with this hardware ID.

        Those that are there without a driver are started. ConfigurationError if it has no
        AddDevice or is not loaded.
        """
        self._check_usable()
        self._settled(partial(bind_driver, self.nt, hardware_id, driver))

    def sleep(self, state: str = "S3") -> int:
        """Put the system to sleep ("S1" to "S4"): STATUS_SUCCESS or a device's veto."""
        self._check_usable()
        return int(self._settled(partial(po_sleep, self.nt, sleep_state(state))))

    def wake(self) -> None:
        """Bring the system back to S0."""
        self._check_usable()
        self._settled(partial(po_wake, self.nt))

    def shut_down(self) -> None:
        """Shut the system down: IRP_MJ_SHUTDOWN to whoever registered for it, then S5.

        Nothing runs on the machine afterwards.
        """
        self._check_usable()
        self._settled(partial(po_shut_down, self.nt))
        self._off = True

    def set_power_setting(self, guid: str, value: int) -> None:
        """Change a power setting, a ULONG: callbacks registered for it are called."""
        self._check_usable()
        try:
            setting = guid_text(guid_bytes(guid))
        except ValueError:
            raise ConfigurationError(f"set_power_setting({guid!r}): a GUID is needed") from None
        self._settled(partial(po_set_setting, self.nt, setting, int(value)))

    def _settled(self, work: Callable[[], Any]) -> Any:
        """Run `work` in a system thread, then all that drivers asked of the PnP manager in it."""
        result = self._in_system_thread(work)
        nt = self.nt
        self._run(lambda: nt.pnp is None or not nt.pnp.working)
        return result

    def run(self, target: Any, *, name: str | None = None, args: Sequence[str] = ()) -> Any:
        """Run an app (path or callable) to its end: its Process."""
        process = self.start(target, name=name, args=args)
        self.run_to_exit([process])
        return process

    def run_to_exit(self, processes: Sequence[Any]) -> None:
        """Run until all these processes have ended; threads of drivers may go on."""
        self._run(lambda: all(process.exit_code is not None for process in processes))

    def run_for(self, duration_100ns: int) -> None:
        """Run for so much virtual time, or until nothing can run any more."""
        end = self.nt.il.now + duration_100ns
        self._check_usable()
        self._drive(lambda: self.nt.stopped or self.nt.clock.now >= end)
        self._raise_outcome()

    def start(self, target: Any, *, name: str | None = None, args: Sequence[str] = ()) -> Any:
        """Start an app; it runs when the machine does."""
        from ntsim.um.process import start_app

        self._check_usable()
        if isinstance(args, str):
            raise ConfigurationError(f"args={args!r}: a tuple of arguments is needed")
        process = start_app(self.nt, target_of(target), name, tuple(args))
        self._processes.append(process)
        return process

    def run_until_idle(self) -> None:
        """Run until nothing can run any more; waits of apps that nothing will end are then a Hang.

        A driver that never comes to rest (a periodic timer) gets ten minutes of virtual time after
        the last app has ended.
        """
        self._check_usable()
        clock = self.nt.clock
        end = clock.now + AFTER_THE_LAST_APP_100NS

        def idle() -> bool:
            nonlocal end
            if self._apps_run():
                end = clock.now + AFTER_THE_LAST_APP_100NS
            return self.nt.stopped or clock.now >= end

        self._drive(idle)
        self._raise_outcome()
        if self._apps_run():
            raise Hang(self.waits(), self._standstill())

    def _apps_run(self) -> bool:
        """Whether an app has not ended yet."""
        return any(process.exit_code is None for process in self._processes)

    def _in_system_thread(self, work: Callable[[], Any]) -> Any:
        """Run `work` in a new system thread to its end; its result, or the Error it raises.

        The thread's stack may be abandoned and live as long as the kernel: it must not hold `self`.
        """
        nt = self.nt
        results: list[Any] = []
        errors: list[Error] = []

        def body() -> None:
            try:
                results.append(iop_load_unload_driver(nt, work))
            except Error as error:
                errors.append(error)

        try:
            thread = psp_create_system_thread(nt, nt.ps.system, body, 0)
        except OutOfFrames:
            raise ConfigurationError(
                "no memory is left for a thread of the system: give the machine more (memory_mb), "
                "or free what the drivers have"
            ) from None
        nt.ps.start_thread(thread)
        self._run(lambda: bool(results or errors))
        if errors:
            raise errors[0]
        return results[0]

    def _run(self, done: Any) -> None:
        self._check_usable()
        finished = self._drive(lambda: self.nt.stopped or done())
        self._raise_outcome()
        if not finished:
            raise Hang(self.waits(), self._standstill())

    def _unless_deadlocked(self, finished: Callable[[], bool]) -> Callable[[], bool]:
        """`finished`, which every minute of virtual time looks for threads that wait for each
        other: a timer that goes on for ever must not hide them."""
        nt, clock = self.nt, self.nt.clock
        due = clock.now + DEADLOCK_CHECK_100NS

        def finished_or_deadlocked() -> bool:
            nonlocal due
            if clock.now >= due:
                from ntsim.watch.wait_graph import deadlock_text

                due = clock.now + DEADLOCK_CHECK_100NS
                found = deadlock_text(nt)
                if found:
                    raise Hang((), found)
            return finished()

        return finished_or_deadlocked

    def _standstill(self) -> str:
        """Why nothing can run any more: threads that wait for each other, or a request."""
        from ntsim.watch.hang import standstill_text

        return standstill_text(self.nt)

    def _drive(self, finished: Any) -> bool:
        try:
            with self._streams(), refused_to_simulated_code():
                return self.nt.il.run(self._unless_deadlocked(finished))
        except BaseException as error:
            if isinstance(error, Hang):
                error.waits = error.waits or tuple(self.waits())
            self.nt.failure = error
            self._keep_failure()
            raise

    def _streams(self) -> contextlib.AbstractContextManager[None]:
        """While processors run, what apps print goes to their processes."""
        if not self._processes:
            return contextlib.nullcontext()
        from ntsim.um.console import switched_streams

        return switched_streams()

    def _raise_outcome(self) -> None:
        if (bugcheck := self.bugcheck) is not None:
            raise bugcheck.with_traceback(None)
        self._keep_failure()
        if self._failure is not None:
            raise self._failure

    def _keep_failure(self) -> None:
        """Take over what ended the run. Its traceback will lead to `self`, which no stack may hold:
        an error that the kernel made on a driver's stack is raised as a copy."""
        error = self.nt.failure
        if error not in (None, _STOPPED):
            self._failure = copy(error) if isinstance(error, UnmodelledRoutine) else error
            self.nt.failure = _STOPPED

    def _check_usable(self) -> None:
        if self._closed:
            raise ConfigurationError("the machine is closed: build a new one")
        if self._off:
            raise ConfigurationError("the machine is shut down: build a new one")
        self._raise_outcome()

    def close(self) -> None:
        """End every stack of the machine; nothing runs on it afterwards."""
        if self._closed:
            return
        self._closed = True
        nt, mmu = self.nt, self.nt.mmu
        nt.il.close()
        usable = mmu.running, mmu.allocate
        mmu.running, mmu.allocate = _Dead(nt.il), nt.il.refuse
        mmu.forget()
        for stack in list(nt.greenlets):
            if stack and not stack.dead:
                stack.parent = _current_greenlet()
                with contextlib.suppress(MachineClosed):
                    stack.throw(MachineClosed)
        nt.greenlets.clear()
        mmu.running, mmu.allocate = usable

    def __del__(self) -> None:
        """A machine that nobody has any more closes itself: its stacks would live for ever."""
        if not getattr(self, "_closed", True) and not sys.is_finalizing():
            with contextlib.suppress(Exception):
                self.close()

    # What happened

    @property
    def bugcheck(self) -> BugCheck | None:
        """The bug check that was raised, or None; always the same object."""
        state = self.nt.bugcheck_state
        if self._crash is None and state is not None:
            self._crash = BugCheck(state.code, state.parameters, state.processor, state.irql)
        return self._crash

    @property
    def debug_output(self) -> list[str]:
        """DbgPrint lines that passed the filter mask."""
        return list(self.nt.kd.lines)

    @property
    def events(self) -> tuple[Event, ...]:
        """What the recorder kept, oldest first."""
        return self.nt.recorder.events()

    @property
    def schedule(self) -> str:
        """The choices of this run; `Machine(schedule=...)` replays it."""
        return str(self._plan)

    @property
    def processes(self) -> tuple[Any, ...]:
        """Every app started on this machine."""
        return tuple(self._processes)

    @property
    def findings(self) -> tuple[Any, ...]:
        """What ntsim noticed that Windows would not have."""
        return tuple(self.nt.findings)

    def report(self) -> Any:
        """None, or the CrashReport of the bug check."""
        if self.nt.bugcheck_state is None:
            return None
        from ntsim.watch.report import crash_report

        return crash_report(self.nt, self.schedule)

    def waits(self) -> list[str]:
        """One line for each waiting thread of an app or driver: who waits for what."""
        nt = self.nt
        lines = []
        for thread in nt.ke.threads.values():
            worker = thread.ethread._v.SameThreadPassiveFlags & ACTIVE_EX_WORKER
            if thread.v.State != WAITING or worker:
                continue
            count = thread.v.WaitBlockCount
            objects = [int(o) for o in nt.ke.waited_objects(thread, count)]
            what = ki_describe_objects(nt, objects) or "a timeout"
            lines.append(f"{thread.process.name} thread {thread.text} waits for {what}")
        return lines


def load(nt: Kernel, target: Any, name: str | None) -> Driver:
    """In a system thread: the image, the driver object, DriverEntry."""
    image, entry = nt.host.load(target, name)
    service = image.module_name
    if any(d.service == service for d in nt.io.drivers.values()):
        nt.host.discard(image)
        raise DriverLoadError(
            f"a driver named {service} is loaded already: unload it or give name=",
            ntstatus.STATUS_IMAGE_ALREADY_LOADED,
        )
    nt.cm.create_service(service, image.path or image.file_name)
    mi_link_image(nt, image)
    image.entry_point = nt.host.register(image, entry, "DriverEntry")
    nt.emit(DriverLoaded, image.file_name, image.base)
    driver = iop_create_driver(nt, service, image)
    iop_load_driver(nt, driver)
    return driver


def load_service(nt: Kernel, path: str, service: str) -> Driver:
    """In a system thread: the driver of a service that an app or driver starts."""
    try:
        return load(nt, target_of(path), f"{service}.sys")
    except ConfigurationError as error:
        status = ntstatus.STATUS_OBJECT_NAME_NOT_FOUND
        raise DriverLoadError(str(error), status) from error


_STOPPED = Error("the run has ended")


class _Dead:
    """Stands for the running processor while a machine closes: to ask for it is to end."""

    def __init__(self, il: Interleaver) -> None:
        self.il = il

    @property
    def current(self) -> NoReturn:
        self.il.refuse()


def _current_greenlet() -> Any:
    from greenlet import getcurrent

    return getcurrent()
