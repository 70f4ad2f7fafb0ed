"""The guests of tests/hw/vmx/test_guest_features.py, their VM entries repeated in Bochs."""

from tests.hw.vmx.test_guest_features import *
