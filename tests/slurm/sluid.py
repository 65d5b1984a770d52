"""Ids of runs as newer releases of Slurm print them."""

BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def sluid(number: int) -> str:
    """A run's DBIndex as newer releases print it: s, and 13 digits of Crockford's base 32."""
    digits = [BASE32[number >> shift & 31] for shift in range(60, -5, -5)]
    return "s" + "".join(digits)
