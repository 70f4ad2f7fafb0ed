"""Share access, as a file system asks for it.

Source: WDK IoCheckShareAccess, IoSetShareAccess, IoUpdateShareAccess, IoRemoveShareAccess; the
table of "Creating and Opening Files" (Win32) for what goes together.
"""

import pytest

from ntsim.wdm import *

READ, WRITE, REMOVE, NOTHING = FILE_READ_DATA, FILE_WRITE_DATA, DELETE, FILE_READ_ATTRIBUTES
R, W, D = FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_SHARE_DELETE


def counts(share) -> list[int]:
    return [
        share.OpenCount, share.Readers, share.Writers, share.Deleters,
        share.SharedRead, share.SharedWrite, share.SharedDelete,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ((READ, R), (READ, R), STATUS_SUCCESS),
        ((READ, 0), (READ, R), STATUS_SHARING_VIOLATION),
        ((READ, R), (READ, 0), STATUS_SHARING_VIOLATION),
        ((READ, R), (WRITE, R), STATUS_SHARING_VIOLATION),
        ((READ, W), (WRITE, R), STATUS_SUCCESS),
        ((WRITE, R | W), (READ, R), STATUS_SHARING_VIOLATION),
        ((WRITE, R | W), (READ, R | W), STATUS_SUCCESS),
        ((REMOVE, R), (READ, R), STATUS_SHARING_VIOLATION),
        ((REMOVE, R), (READ, D), STATUS_SUCCESS),
        ((READ, R), (REMOVE, R), STATUS_SHARING_VIOLATION),
        ((READ, 0), (NOTHING, 0), STATUS_SUCCESS),
        ((NOTHING, 0), (WRITE, 0), STATUS_SUCCESS),
        ((FILE_EXECUTE, 0), (READ, R), STATUS_SHARING_VIOLATION),
        ((FILE_APPEND_DATA, R), (READ, R), STATUS_SHARING_VIOLATION),
    ],
)
def test_what_goes_together(value_of, first, second, status) -> None:
    def body() -> int:
        share, one, two = SHARE_ACCESS(), FILE_OBJECT(), FILE_OBJECT()
        IoSetShareAccess(*first, one, share)
        return IoCheckShareAccess(*second, two, share, FALSE)

    assert value_of(body) == status


def test_opens_are_counted_in_and_out(value_of) -> None:
    def body() -> list:
        share, one, two, three = SHARE_ACCESS(), FILE_OBJECT(), FILE_OBJECT(), FILE_OBJECT()
        IoSetShareAccess(READ | WRITE, R | W, one, share)
        found = [counts(share), [one.ReadAccess, one.WriteAccess, one.DeleteAccess]]
        IoCheckShareAccess(READ, R | W | D, two, share, FALSE)
        found.append(counts(share))
        IoUpdateShareAccess(two, share)
        found.append(counts(share))
        IoCheckShareAccess(WRITE, R | W, three, share, TRUE)
        found.append(counts(share))
        for file in (one, two, three):
            IoRemoveShareAccess(file, share)
        return [*found, counts(share)]

    assert value_of(body) == [
        [1, 1, 1, 0, 1, 1, 0], [1, 1, 0], [1, 1, 1, 0, 1, 1, 0], [2, 2, 1, 0, 2, 2, 1],
        [3, 2, 2, 0, 3, 3, 1], [0, 0, 0, 0, 0, 0, 0],
    ]  # fmt: skip


def test_an_open_that_only_asks_is_not_counted(value_of) -> None:
    def body() -> list[int]:
        share, file = SHARE_ACCESS(), FILE_OBJECT()
        IoSetShareAccess(NOTHING, 0, file, share)
        IoRemoveShareAccess(file, share)
        return counts(share)

    assert value_of(body) == [0] * 7
