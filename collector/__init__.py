"""Batch-system accounting for an Auditor; see `docs/` and the README."""
