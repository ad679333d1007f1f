"""Measurements, each with its reference taken in the same run: `make bench`, or `python -m bench NAME ...`.

One module for each bench.
"""
