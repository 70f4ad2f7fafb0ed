"""The guests of tests/hw/vmx/test_monitor.py, their VM entries repeated in Bochs."""

from tests.hw.vmx.test_monitor import *
