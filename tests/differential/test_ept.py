"""The guests of tests/hw/vmx/test_ept.py, their VM entries repeated in Bochs."""

from tests.hw.vmx.test_ept import *
