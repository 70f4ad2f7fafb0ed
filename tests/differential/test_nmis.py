"""The guests of tests/hw/vmx/test_nmis.py, their VM entries repeated in Bochs."""

from tests.hw.vmx.test_nmis import *
