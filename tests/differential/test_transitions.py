"""The guests of tests/hw/vmx/test_transitions.py, their VM entries repeated in Bochs."""

from tests.hw.vmx.test_transitions import *
