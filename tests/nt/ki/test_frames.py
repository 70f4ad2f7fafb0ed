"""Stack frames of Python code."""

from ntsim.nt.ki.frames import StackFrame, frame_size


def routine(first: int, second: int) -> int:
    return first + second


def test_a_frames_size_does_not_depend_on_the_interpreter() -> None:
    """A report reads the same everywhere; compilers of different Python versions differ."""
    code = routine.__code__
    other = code.replace(co_stacksize=code.co_stacksize + 6)
    assert frame_size(code) == frame_size(other)
    assert frame_size(code) % 16 == 0


def test_a_frame_outside_every_image_is_its_address_alone(ntsim_machine) -> None:
    image, address = ntsim_machine().nt.nt_image, 0xFFFF_DD07_0001_3060
    made = StackFrame(image, f"{address:#x}", address, 0, "", 0, (0, 0, 0, 0), False, 8)
    assert made.call_site == "0xffffdd07`00013060"
    named = StackFrame(image, "KiSwapThread", address, 16, "", 0, (0, 0, 0, 0), False, 8)
    assert named.call_site == "nt!KiSwapThread+0x10"
