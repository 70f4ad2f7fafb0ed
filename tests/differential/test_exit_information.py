"""The guests of tests/hw/vmx/test_exit_information.py, their VM entries repeated in Bochs."""

from tests.hw.vmx.test_exit_information import *
