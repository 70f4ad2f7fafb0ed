"""Pending and in-service vectors, and which of them CR8 lets through."""

import pytest

from ntsim.hw.apic import Apic


@pytest.mark.parametrize(
    ("requested", "cr8", "vector"),
    [
        ((), 0, -1),
        ((0x2F,), 0, 0x2F),
        ((0x2F,), 1, 0x2F),
        ((0x2F,), 2, -1),
        ((0x2F, 0xD1), 0, 0xD1),
        ((0x2F, 0xD1), 12, 0xD1),
        ((0x2F, 0xD1), 13, -1),
        ((0xE1, 0xD1), 13, 0xE1),
        ((0xE1,), 15, -1),
    ],
)
def test_the_highest_pending_vector_above_cr8_is_deliverable(requested, cr8, vector) -> None:
    apic = Apic()
    for each in requested:
        apic.request(each)
    assert apic.deliverable(cr8) == vector


def test_a_vector_is_pending_once() -> None:
    apic = Apic()
    apic.request(0x2F)
    apic.request(0x2F)
    apic.accept(0x2F)
    assert apic.deliverable(0) == -1
    assert not apic.is_pending(0x2F)


def test_end_of_interrupt_ends_the_highest_in_service() -> None:
    apic = Apic()
    for vector in (0x2F, 0xD1):
        apic.request(vector)
        apic.accept(vector)
    apic.end_of_interrupt()
    assert apic.in_service == 1 << 0x2F
    apic.end_of_interrupt()
    apic.end_of_interrupt()
    assert apic.in_service == 0


def test_a_withdrawn_vector_is_not_delivered() -> None:
    apic = Apic()
    apic.request(0xD1)
    apic.withdraw(0xD1)
    assert apic.deliverable(0) == -1
