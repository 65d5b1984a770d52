"""What is done with sources, outbox and Auditor together.

`assemble.py` makes the parts of a configuration; `collect.py` brings a batch into the outbox;
`backfill.py`, `reconcile.py` and `retry.py` are what their commands do.
"""
