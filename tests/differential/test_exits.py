"""The guests of tests/hw/vmx/test_exits.py, their VM entries repeated in Bochs."""

from tests.hw.vmx.test_exits import *
