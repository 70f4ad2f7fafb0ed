"""The guests of tests/hw/vmx/test_guest_events.py, their VM entries repeated in Bochs."""

from tests.hw.vmx.test_guest_events import *
