"""From a frozen machine to its CrashReport."""

from __future__ import annotations

from ntsim.abi import bugcodes
from ntsim.abi.bugchecks import SubCode, describe
from ntsim.abi.irql import INTERRUPTS_OFF, level_name
from ntsim.hw.cpu import RFLAGS_IF
from ntsim.hw.strategy import schedule as schedules
from ntsim.nt.ke.bugcheck import BugCheckState, ProcessorState
from ntsim.nt.kernel import Kernel
from ntsim.nt.ki.frames import StackFrame
from ntsim.watch.report import model
from ntsim.watch.report.blame import blame
from ntsim.watch.report.exception import exception_name, exception_of
from ntsim.watch.report.registers import registers_of
from ntsim.watch.why import explain
from ntsim.watch.why.memory import pool_kind

DEBUG_LINES = 20
READ, WRITE, EXECUTE = "read", "write", "execute"
IRQL_FAULTS = frozenset({0xA, 0xD1, 0xD4})
SYSTEM_FAULTS = frozenset({0x50, 0xCE})


def crash_report(nt: Kernel, schedule: str) -> model.CrashReport:
    """The report of a machine that has bug-checked; `schedule` replays its run."""
    state = nt.bugcheck_state
    assert state is not None, "there is no bug check to report"
    description = describe(state.code)
    blamed = blame(nt, state)
    story = explain(nt, state)
    lines = nt.kd.lines
    return model.CrashReport(
        code=state.code,
        name=bugcodes.name_of(state.code),
        text=description.text,
        arguments=_arguments(state),
        irql=state.irql,
        processor=state.processor,
        time_100ns=state.time,
        process=state.process,
        thread=state.thread,
        fault=_fault(nt, state),
        exception=exception_of(nt, state),
        registers=registers_of(nt, _shown_stack(state)),
        stack=_frames(nt, _shown_stack(state)),
        symbol_name=blamed.symbol_name,
        module_name=blamed.module,
        image_name=blamed.image,
        symbol_offset=blamed.offset,
        bucket=blamed.bucket,
        processors=tuple(_processor(nt, state, each) for each in state.processors),
        summary=story.summary,
        why=tuple(
            model.WhyStep(
                time_100ns=step.time_100ns,
                processor=step.processor,
                thread=step.thread,
                where=step.where,
                source=step.source,
                text=step.text,
            )
            for step in story.steps
        ),
        debug_output=tuple(lines[-DEBUG_LINES:]),
        debug_lines=len(lines),
        findings=tuple(
            model.FindingReport(rule=each.rule, routine=each.routine, text=each.text)
            for each in nt.findings
        ),
        seed=schedules.parse(schedule).seed,
        schedule=schedule,
    )


def _arguments(
    state: BugCheckState,
) -> tuple[model.Argument, model.Argument, model.Argument, model.Argument]:
    one, two, three, four = (_argument(state, number) for number in range(1, 5))
    return one, two, three, four


def _argument(state: BugCheckState, number: int) -> model.Argument:
    """Parameter 1 to 4. The one that selects a case of the bug check is told by that case."""
    description = describe(state.code)
    case = description.case(state.parameters)
    value = state.parameters[number - 1]
    meaning = case.parameters[number - 1] if case.parameters else ""
    explanation = description.values.get(number, {}).get(value, "")
    if isinstance(case, SubCode) and number in case.when:
        explanation = case.text
    elif case.kinds.get(number) == "status":
        explanation = exception_name(value & 0xFFFF_FFFF)
    elif case.kinds.get(number) == "irql":
        explanation = level_name(value)
    return model.Argument(value=value, meaning=meaning, explanation=explanation)


def _fault(nt: Kernel, state: BugCheckState) -> model.Fault | None:
    """The memory access of the bug checks that a page fault ends in."""
    address = state.parameters[0]
    if state.code in IRQL_FAULTS:
        access = {0: READ, 1: WRITE}.get(state.parameters[2], EXECUTE)
    elif state.code in SYSTEM_FAULTS:
        access = {0: READ, 2: WRITE}.get(state.parameters[1], EXECUTE)
    elif state.code == bugcodes.ATTEMPTED_WRITE_TO_READONLY_MEMORY:
        access = WRITE
    elif state.code == bugcodes.ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY:
        access = EXECUTE
    else:
        return None
    return model.Fault(access=access, address=address, memory=pool_kind(nt, address))


def _shown_stack(state: BugCheckState) -> list[StackFrame]:
    """The stack a debugger shows: of an exception from the code that raised it, as after .cxr.

    User-mode frames are the end of it: what called a thread's first user-mode code is no caller.
    """
    stack = state.stack
    last_user = max((i for i, frame in enumerate(stack) if frame.user), default=len(stack) - 1)
    stack = stack[: last_user + 1]
    if state.fault is not None:
        address = state.fault.ExceptionAddress
        start = next((i for i, frame in enumerate(stack) if frame.address == address), 0)
        return stack[start:]
    return stack


def _frames(nt: Kernel, stack: list[StackFrame]) -> tuple[model.Frame, ...]:
    return tuple(_frame(nt, frame, last=frame is stack[-1]) for frame in stack)


def _frame(nt: Kernel, frame: StackFrame, last: bool) -> model.Frame:
    """A frame with its source if that is a driver's or an app's; nobody called the last one."""
    one, two, three, four = (*frame.arguments, 0, 0, 0, 0)[:4]
    known = frame.file in nt.host.files
    return model.Frame(
        child_sp=frame.child_sp,
        return_address=0 if last else frame.return_address,
        arguments=(one, two, three, four),
        address=frame.address,
        module=frame.image.module_name,
        symbol=frame.symbol,
        offset=frame.offset,
        file=frame.file if known else "",
        line=frame.line if known else 0,
        user=frame.user,
    )


def _processor(nt: Kernel, stopped: BugCheckState, state: ProcessorState) -> model.ProcessorReport:
    stack = _shown_stack(stopped) if state.number == stopped.processor else state.stack
    return model.ProcessorReport(
        number=state.number,
        idle=state.thread == nt.ke.idle_threads[state.number].text,
        process=state.process,
        thread=state.thread,
        irql=state.irql,
        interrupts=bool(state.rflags & RFLAGS_IF),
        rflags=state.rflags,
        cr0=state.cr0,
        cr2=state.cr2,
        cr3=state.cr3,
        cr4=state.cr4,
        vmx=state.vmx,
        stack=_frames(nt, stack),
    )


assert INTERRUPTS_OFF == 0xFF
