"""Driver Verifier of one machine: it stands between verified drivers and the kernel's exports.

Faces of exports hand their call to `call` while `Kernel.verifier` is set; the kernel asks it at the
few places where it calls into a driver or takes one out of memory. Whatever a check finds ends in
`VerifierBugCheckIfAppropriate`, with a sentence and places in code for the report.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from ntsim.nt.ex.pool import HEADER
from ntsim.nt.ke.irql import DISPATCH_LEVEL
from ntsim.nt.ki import frames
from ntsim.nt.vf import hooks
from ntsim.nt.vf.notes import Moment, Note, Place, Reason
from ntsim.nt.vf.options import Settings
from ntsim.nt.vf.pool import BY_FLAGS, BY_TYPE

if TYPE_CHECKING:
    from ntsim.nt.exports import Export
    from ntsim.nt.kernel import Kernel
    from ntsim.nt.mm.images import Image

CHECKS = (
    "irql spin_lock region resource push_lock pool mdl io invariant_mdl pnp remove_lock deadlock "
    "misc tracing tracking security code_integrity dma dma_transfers rules low_resources delay "
    "forced_pending"
).split()
"""Files of this room whose checks register themselves, in the order in which they look."""

ALLOCATORS = frozenset(f"{BY_TYPE} {BY_FLAGS}".split())
OURS = "ntsim.nt.", "ntsim.host."
"""Modules whose frames are no driver's."""

TIMER_OR_DPC_INVALID, DPC_CHANGED_APC_COUNT = 0xC7, 4
DRIVER_VERIFIER_DETECTED_VIOLATION = 0xC4
DRIVER_VERIFIER_IOMANAGER_VIOLATION = 0xC9


@dataclass(frozen=True, slots=True)
class Plan:
    """The checks of one routine; `allocates`: its blocks may come from special pool; `idle`: an
    inline routine that nobody looks at, whatever driver calls it."""

    before: tuple[Callable[..., Any], ...]
    instead: tuple[Callable[..., Any], ...]
    after: tuple[Callable[..., Any], ...]
    allocates: bool
    idle: bool


class Verifier:
    """See the module docstring. `reason` is the violation that stopped the machine."""

    def __init__(self, nt: Kernel, settings: Settings, seed: int) -> None:
        self.nt, self.settings, self.seed = nt, settings, seed
        self.options, self.rules = settings.options, settings.rules
        self.plans: dict[str, Plan] = {}
        self.reason: Reason | None = None
        self.requester: Image | None = None
        self.routine = ""
        self.parts: dict[str, Any] = {}
        for name in CHECKS:
            importlib.import_module(f"ntsim.nt.vf.{name}")
        from ntsim.nt.vf.forced_paging import ForcedPaging
        from ntsim.nt.vf.io import IoVerifier
        from ntsim.nt.vf.special_pool import SpecialPool
        from ntsim.nt.vf.tracking import PoolTracker

        self.tracker = PoolTracker(self)
        self.io = IoVerifier(self)
        self.special = SpecialPool(self) if "special-pool" in self.options else None
        nt.ex.pool.special = self.special
        nt.ex.pool.on_free = self.freed
        self.paging = ForcedPaging(nt) if "force-irql" in self.options else None

    def on(self, option: str) -> bool:
        """Whether an option was asked for."""
        return option in self.options

    def verifies(self, image: Image | None) -> bool:
        """Whether a driver is one of those to look at."""
        if image is None or image is self.nt.nt_image:
            return False
        wanted = self.settings.drivers
        return not wanted or image.file_name.lower() in wanted

    def part(self, made: Callable[[], Any]) -> Any:
        """The state that a check keeps, made when first asked for."""
        name = f"{made.__module__}.{made.__qualname__}"
        found = self.parts.get(name)
        if found is None:
            found = self.parts[name] = made()
        return found

    @property
    def irql(self) -> int:
        """CR8 of the running processor."""
        return self.nt.il.current.cr8

    def freed(self, address: int) -> None:
        """A block of pool was freed, by a driver or by the kernel for it."""
        self.tracker.live.pop(address, None)
        self.io.allocated.pop(address, None)

    def block_size(self, address: int) -> int:
        """Bytes of a block of pool; 0 if none begins at `address`."""
        if self.special is not None and (block := self.special.block_at(address)) is not None:
            return 0 if block.gone else block.size
        pool = self.nt.ex.pool
        if address & 0xFFF == 0:
            big = pool.big.get(address)
            return 0 if big is None else big.size
        kind = pool.kinds.get(address & ~0xFFF)
        return 0 if kind is None else kind[2] - HEADER

    # A driver calls an export

    def call(self, nt: Kernel, export: Export, arguments: tuple[Any, ...], extra: Any = ()) -> Any:
        """Check the arguments (the kernel first), call the routine, check what it did."""
        name = export.name
        plan = self.plans.get(name) or self._plan(export)
        if plan.idle:
            return export.function(*arguments, *extra)
        images = nt.thread.images
        image = images[-1] if images else None
        if not self.verifies(image):
            return export.function(*arguments, *extra)
        self.routine = name
        for check in plan.before:
            check(self, *arguments)
        for substitute in plan.instead:
            answer = substitute(self, *arguments)
            if answer is not None:
                return answer
        level = nt.il.current.cr8
        if plan.allocates:
            self.requester = image
            try:
                result = export.function(*arguments, *extra)
            finally:
                self.requester = None
        else:
            result = export.function(*arguments, *extra)
        if self.paging is not None and level < DISPATCH_LEVEL <= nt.il.current.cr8:
            self.paging.trim()
        self.routine = name
        for check in plan.after:
            check(self, result, *arguments)
        return result

    def _plan(self, export: Export) -> Plan:
        name, options = export.name, self.options | self.rules
        before = *hooks.chosen(hooks.BEFORE, name, options), *self._rule_checks(name)
        instead = hooks.chosen(hooks.INSTEAD, name, options)
        after = hooks.chosen(hooks.AFTER, name, options)
        allocates = name in ALLOCATORS
        idle = export.inline and name.startswith("Io") and not (before or instead or after)
        made = self.plans[name] = Plan(before, instead, after, allocates, idle)
        return made

    def _rule_checks(self, name: str) -> tuple[Callable[..., Any], ...]:
        from ntsim.nt.vf.rules import irql_check
        from ntsim.nt.vf.security import zw_check

        found = [irql_check(name, self.rules)]
        if self.on("security"):
            found.append(zw_check(name))
        return tuple(check for check in found if check is not None)

    # The kernel calls a driver's DPC or interrupt routine

    def interruption(self, address: int, arguments: tuple[Any, ...]) -> int:
        """Call it: a DPC routine must keep the APC counts, an interrupt routine the IRQL."""
        nt = self.nt
        if not self.verifies(nt.images.at(address)):
            return nt.host.call(address, arguments)
        level, v = self.irql, nt.thread.v
        counts = v.KernelApcDisable, v.SpecialApcDisable
        result = nt.host.call(address, arguments)
        name, now = nt.describe_address(address), nt.il.current.cr8
        if level > DISPATCH_LEVEL and now != level:
            why = f"Interrupt routine {name} was called at IRQL {level} and returned at {now}."
            self.violation(0x111, address, level, now, why=why)
        left = v.KernelApcDisable, v.SpecialApcDisable
        if level == DISPATCH_LEVEL and left != counts:
            why = f"DPC routine {name} changed the APC disable counts of the thread that it "
            self.violation(
                DPC_CHANGED_APC_COUNT, address, counts[0] & 0xFFFF, left[0] & 0xFFFF,
                why=f"{why}interrupted, from {counts} to {left}.", code=TIMER_OR_DPC_INVALID,
            )  # fmt: skip
        return result

    # The kernel is about to call DriverEntry

    def loading(self, driver: Any) -> None:
        """The driver is mapped and has not run yet."""
        if self.verifies(driver.image):
            self.routine = "DriverEntry"
            for check in hooks.chosen(hooks.BEFORE, "DriverEntry", self.options):
                check(self, self.nt, driver)

    # The kernel takes a driver out of memory

    def unloading(self, driver: Any) -> None:
        """DriverUnload has returned, or DriverEntry failed."""
        if self.verifies(driver.image):
            self.routine = "DriverUnload"
            for check in hooks.chosen(hooks.BEFORE, "DriverUnload", self.options):
                check(self, self.nt, driver)

    # Stopping

    def violation(
        self,
        one: int,
        two: int = 0,
        three: int = 0,
        four: int = 0,
        *,
        why: str,
        driver: int = 0,
        notes: list[Note] | None = None,
        code: int = DRIVER_VERIFIER_DETECTED_VIOLATION,
    ) -> NoReturn:
        """Stop with 0xC4, or another code; `why` is a sentence for the report."""
        self.reason = Reason(why, driver, notes or [])
        VerifierBugCheckIfAppropriate(self.nt, code, one, two, three, four)

    def moment(self) -> Moment:
        """Here and now."""
        nt = self.nt
        processor = nt.il.current
        stack = frames.capture(nt)
        return Moment(nt.il.now, processor.number, processor.context.text, stack)

    def place(self) -> Moment:
        """Here and now, with no more of the stack than the driver's innermost routine."""
        return self.here(sys._getframe(1)).moment(self.nt)

    def here(self, start: FrameType | None = None) -> Place:
        """What `place` is made of, while the routine has not returned."""
        nt = self.nt
        processor = nt.il.current
        who = nt.il.now, processor.number, processor.context.text
        for frame in frames.frames_from(start or sys._getframe(1)):
            if frame.f_code.co_name == frames.COMPILED:
                if found := nt.host.compiled_frames(frame):
                    return Place(*who, None, 0, found[:1])
            elif frame.f_globals.get("__name__", "").startswith(OURS):
                continue
            elif nt.host.locate(frame) is not None:
                return Place(*who, frame, frame.f_lineno, [])
        return Place(*who, None, 0, [])

    def driver_address(self) -> int:
        """Where the innermost driver routine is executing."""
        nt = self.nt
        found = next((f.address for f in frames.capture(nt) if f.image is not nt.nt_image), 0)
        return found

    def text(self, text: str) -> int:
        """Address of a string that a parameter points to."""
        data = text.encode("ascii", "replace") + b"\0"
        address = self.nt.allocate_pool(len(data), "VfTx")
        self.nt.mmu.write(address, data)
        return address

    def value(self, value: int) -> int:
        """Address of a number that a parameter points to."""
        address = self.nt.allocate_pool(16, "VfTx")
        self.nt.mmu.write_word(address, value)
        return address


def VerifierBugCheckIfAppropriate(
    nt: Kernel, Code: int, One: int, Two: int, Three: int, Four: int
) -> NoReturn:
    """The name under which a debugger shows that the verifier stopped the system."""
    nt.bugcheck(Code, One, Two, Three, Four)
