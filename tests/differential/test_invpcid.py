"""The guests of tests/hw/vmx/test_invpcid.py, their VM entries repeated in Bochs."""

from tests.hw.vmx.test_invpcid import *
