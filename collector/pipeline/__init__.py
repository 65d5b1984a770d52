"""What is done with sources, outbox and Auditor together.

`assemble.py` makes the parts of a configuration; `entries.py` is the one way from a job to its
record; `collect.py` brings a batch into the outbox; `backfill.py`, `reconcile.py` and `retry.py`
are what their commands do.
"""
