"""Quota pool and local time. Source: WDK ExAllocatePoolQuotaZero, ExSystemTimeToLocalTime."""

from ntsim.wdm import *


def test_quota_pool_is_zeroed(value_of) -> None:
    def body() -> bytes:
        first = ExAllocatePoolQuotaZero(NonPagedPoolNx, 24, 1)
        write_bytes(first, b"\xff" * 24)
        ExFreePoolWithTag(first, 1)
        return read_bytes(ExAllocatePoolQuotaZero(NonPagedPoolNx, 24, 1), 24)

    assert value_of(body) == bytes(24)


def test_local_time_is_utc_without_the_bias_and_back(run_driver) -> None:
    def body() -> list[int]:
        bias = cast(0xFFFF_F780_0000_0020, PULONG)
        hour = bias[0] | cast(0xFFFF_F780_0000_0024, PLONG)[0] << 32
        one, two, three = LARGE_INTEGER(), LARGE_INTEGER(), LARGE_INTEGER()
        one.QuadPart = 132_000_000_000_000_000
        ExSystemTimeToLocalTime(one, two)
        ExLocalTimeToSystemTime(two, three)
        return [one.QuadPart - two.QuadPart == hour, three.QuadPart == one.QuadPart]

    assert run_driver(body).value == [True, True]
