"""The plugged-in device of the PnP tests."""

from tests.nt.pnp.conftest import plug

__all__ = ["plug"]
