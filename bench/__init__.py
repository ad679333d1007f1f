"""Measurements, each with its reference taken in the same run: `make bench`, or `python -m bench NAME ...`.

One module for each bench. How the cost of a push grows with sessions and attempts belongs here too (`growth`), with the
issue that builds the pages over many sessions.
"""
