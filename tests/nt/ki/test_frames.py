"""Stack frames of Python code."""

from ntsim.nt.ki.frames import frame_size


def routine(first: int, second: int) -> int:
    return first + second


def test_a_frames_size_does_not_depend_on_the_interpreter() -> None:
    """A report reads the same everywhere; compilers of different Python versions differ."""
    code = routine.__code__
    other = code.replace(co_stacksize=code.co_stacksize + 6)
    assert frame_size(code) == frame_size(other)
    assert frame_size(code) % 16 == 0
