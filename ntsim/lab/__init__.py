"""Experiments on a machine: the sample drivers and apps, and what is run with them."""
