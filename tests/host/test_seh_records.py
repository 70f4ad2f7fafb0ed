"""What handlers see of an exception (driver/c/records.c): flags, the record and the contexts.

Source: Microsoft's windows_seh_tests, src/xcpt4 (tests 27, 63 to 68) and src/nested_collided, for
EXCEPTION_NESTED_CALL and collided unwinds; winnt.h, EXCEPTION_RECORD; Win32, RtlUnwindEx; Wine,
dlls/ntdll, for the contexts that a language handler gets.
"""

from pathlib import Path

import pytest

RECORDS = Path(__file__).parents[2] / "driver/c/records.sys"

BLOCKS = {
    "nested": [
        "innermost: c0000005, flags 0",
        "middle: c0000005, flags 0",
        "innermost: c000003e, flags 11",
        "middle: c000003e, flags 11",
        "outer: c000003e, flags 1",
        "nested: c000003e",
        "outermost: c000003f, flags 1",
        "afterwards: c000003f",
    ],
    "nested twice": [
        "innermost: c0000005, flags 0",
        "middle: c0000005, flags 0",
        "innermost: c000003e, flags 11",
        "middle: c000003e, flags 11",
        "second: c000003e, flags 1",
        "innermost: c000007f, flags 11",
        "middle: c000007f, flags 11",
        "second: c000007f, flags 11",
        "third: c000007f, flags 11",
        "nested twice: c000007f",
    ],
    "out of a termination handler": [
        "inner: c0000005, flags 0",
        "inner: c000003e, flags 1",
        "collided: c000003e",
    ],
    "the record": [
        "the raiser's own record: yes, at RIP: yes",
        "changed: e0005678, 2, 7, chained",
        "handled as: e0005678",
        "own record: e0005678, flags 0, 7",
    ],
    "what the dispatcher raises": [
        "about: 80000011, flags 1, 0",
        "about: c0000025, flags 1, 80000011",
        "not continuable: c0000025",
    ],
    "more than 200 frames": ["from far below: c00000fd"],
    "a return in a termination handler": [
        "searching: RBX 0, stack right, RIP at the caller, context the exception's",
        "first",
        "unwinding: RBX 55, stack right, RIP here, context the frame's",
        "left by a return",
        "unwinding: RBX 55, stack right, RIP here, context the frame's",
        "returned: 155",
    ],
}


@pytest.mark.parametrize("seed", [0, 4])
def test_handlers_see_what_they_see_on_windows(ntsim_machine, seed) -> None:
    machine = ntsim_machine(seed=seed)
    machine.load_driver(RECORDS)
    assert machine.debug_output == [line for block in BLOCKS.values() for line in block]
