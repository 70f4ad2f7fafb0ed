"""Exits live, a line each, as they come: `hypervisor_monitor_app.py [ROUTINE]`.

One thread waits for exits and prints them. The other makes them happen: it reads and writes a page
that is watched, has the driver read LSTAR and write to COM1, and opens and closes the device Echo
if its driver is loaded (driver/c/echo.sys), whose calls of ROUTINE, IofCompleteRequest if none is
given, meet a breakpoint that nobody can read. The last lines count the exits of each processor;
most of them are CPUID, VMCALL and the monitor trap flag's, which nobody asked to hear of.
"""

import sys

from driver.hypervisor.system_ioctl import (
    BY_IPI,
    HV_EVENT_SIZE,
    HV_EVENTS,
    HV_EXITS,
    HV_HIDE_BREAKPOINT,
    HV_TOUCH,
    HV_VIRTUALISE,
    HV_WATCH_MSR,
    HV_WATCH_PAGE,
    HV_WATCH_PORT,
    WATCH_READ,
    WATCH_WRITE,
)
from ntsim.win32 import *
from userapp.hypervisor_part7_app import Event, unpack

IA32_LSTAR, COM1 = 0xC0000082, 0x3F8
ROOM = 16 * HV_EVENT_SIZE
PERIOD = 30  # milliseconds: longer than it takes an exit to get here
LINE = "{:>12}  {:>3}  {:<14}  {:<8}  {:<29}  {}"
BAR = 40


def call(device, code: int, data: bytes = b"", room: int = 512) -> bytes:
    """DeviceIoControl on an overlapped handle, waited for by this thread."""
    overlapped = OVERLAPPED()
    overlapped.hEvent = CreateEvent(None, True, False, None)
    out = DeviceIoControl(device, code, data, room, overlapped)
    length = GetOverlappedResult(device, overlapped, True)
    CloseHandle(overlapped.hEvent)
    return bytes(out[:length])


def quads(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in numbers)


def numbers(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]


def open_device(name: str, flags: int):
    access = GENERIC_READ | GENERIC_WRITE
    return CreateFile(rf"\\.\{name}", access, 0, None, OPEN_EXISTING, flags, None)


def show_breakpoint(event: Event) -> tuple[str, str, str]:
    return "breakpoint", "execute", f"returns to {event.value:#x}"


def show_violation(event: Event) -> tuple[str, str, str]:
    kinds = "".join(letter for bit, letter in enumerate("RWX") if event.detail >> bit & 1)
    return "EPT violation", kinds, f"{event.value:#x}"


def show_msr(event: Event) -> tuple[str, str, str]:
    kind = "RDMSR" if event.reason == 31 else "WRMSR"
    return kind, f"{event.detail:#x}"[-8:], f"{event.value:#x}"


def show_port(event: Event) -> tuple[str, str, str]:
    kind = "IN" if event.detail & 8 else "OUT"
    return f"{kind} port", f"{event.detail >> 16:#x}", f"{event.value & 0xFF:#04x}"


SHOW = {0: show_breakpoint, 30: show_port, 31: show_msr, 32: show_msr, 48: show_violation}


def show(event: Event, since: int) -> None:
    if event.lost:
        print(LINE.format("", event.processor, f"({event.lost} lost)", "", "", "").rstrip())
    what, access, value = SHOW[event.reason](event)
    ticks = f"{event.time - since:,}"
    print(LINE.format(ticks, event.processor, what, access, value, f"{event.rip:#x}"))


def watch(device) -> None:
    """Until the handle is closed, or the app ends."""
    since = 0
    while True:
        for event in unpack(call(device, HV_EVENTS, room=ROOM)):
            since = since or event.time
            show(event, since)


def hide_breakpoint(device, routine: str) -> None:
    try:
        _, address = numbers(call(device, HV_HIDE_BREAKPOINT, routine.encode()))
    except error as e:
        print(f"no breakpoint in {routine}: {e.strerror}")
    else:
        print(f"a hidden breakpoint in {routine}, at {address:#x}")


def use_echo() -> None:
    try:
        CloseHandle(open_device("Echo", 0))
    except error:
        return  # that driver is not loaded


def make_exits(device, memory: int) -> None:
    write_bytes(memory, b"written")
    Sleep(PERIOD)
    print(" " * 14, "the page reads", repr(read_bytes(memory, 7).decode()))
    Sleep(PERIOD)
    call(device, HV_TOUCH)
    Sleep(PERIOD)
    use_echo()
    Sleep(PERIOD)


def show_counts(device) -> None:
    counts = numbers(call(device, HV_EXITS))
    for processor, count in enumerate(counts):
        print(f"processor {processor:>2} {count:>6} exits  {'#' * (BAR * count // max(counts))}")


def main() -> int:
    routine = sys.argv[1] if len(sys.argv) > 1 else "IofCompleteRequest"
    device = open_device("HypervisorSystem", FILE_FLAG_OVERLAPPED)
    memory = VirtualAlloc(0, 0x1000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE)
    call(device, HV_VIRTUALISE, quads(BY_IPI))
    call(device, HV_WATCH_PAGE, quads(memory, WATCH_READ | WATCH_WRITE))
    call(device, HV_WATCH_MSR, quads(IA32_LSTAR))
    call(device, HV_WATCH_PORT, quads(COM1))
    hide_breakpoint(device, routine)
    print(LINE.format("ticks", "cpu", "exit", "access", "value or address", "instruction"))
    CreateThread(None, 0, watch, (device,))
    make_exits(device, memory)
    show_counts(device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
