"""Vf: Driver Verifier. WDK "Driver Verifier"."""
