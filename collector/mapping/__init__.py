"""Mapping: the YAML rules that make a Record of the fields of a job.

`rules.py` is what the YAML file may say; `mapping.py` compiles it, once, to plain functions over
the fields (`evaluation.py`); `arithmetic.py` are its expressions, `structured.py` looks items up in
JSON and the like, `quantities.py` reads durations and amounts of memory as schedulers write them.
"""

from collector.mapping.mapping import Mapping, UnmappableError, storable
from collector.mapping.quantities import duration_s, integer, memory_bytes, number

__all__ = [
    "Mapping",
    "UnmappableError",
    "duration_s",
    "integer",
    "memory_bytes",
    "number",
    "storable",
]
