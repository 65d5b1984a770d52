"""Pseudonyms: a keyed hash in place of a person's name, the same wherever the key is the same.

A pseudonym is the first 20 hexadecimal digits of HMAC-SHA-256 (RFC 2104, RFC 6234) of the text in
UTF-8. That is 80 bits, the least that RFC 2104 (section 5) cuts to: among a million users the
chance that any two share one is 4 in 10^13. It depends on the key and the text alone, so every
node and scheduler with the key gives the same one; who has no key can neither compute nor
compare, and pseudonyms under two keys have nothing in common. Whoever has the key can try names,
so it is kept as a private key is, and is never in the configuration itself.
"""

import hmac
import os
from collections.abc import Sequence
from pathlib import Path

from collector.config import Config, ConfigError
from collector.config.keyfile import exposed
from collector.mapping.evaluation import Pseudonym

DIGITS = 20
KEY_BYTES = 32
"""The least; RFC 2104 (section 3) advises against keys shorter than the hash."""

_CREDENTIAL = "pseudonym-key"
_HOW = (
    "to make one, as root: install -m 0640 -g auditor-collector /dev/null "
    "/etc/auditor-collector/pseudonym-key; head -c 32 /dev/urandom | base64 > "
    "/etc/auditor-collector/pseudonym-key; and name it in pseudonym_key (or give it to systemd: "
    "LoadCredential=pseudonym-key:/etc/auditor-collector/pseudonym-key; commands by hand find it "
    "while the service runs, as pseudonym_key: "
    "/run/credentials/auditor-collector.service/pseudonym-key)"
)


def keyed(key: bytes) -> Pseudonym:
    """The function that gives the pseudonym of a text under a key."""

    def pseudonym(text: str) -> str:
        # A job's text may hold what is no character; it is hashed as well.
        mac = hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256")
        return mac.hex()[:DIGITS]

    return pseudonym


def of_site(config: Config) -> Pseudonym | None:
    """The pseudonyms of a site, by the key in its file; None if there is none.

    The key is what the file holds, without blanks and line ends around it, so that an editor's
    last newline makes no other key. Without `pseudonym_key` it is systemd's credential.

    Raises:
        ConfigError: for a key that cannot be read, that others may read, or that is too short.
    """
    path = config.pseudonym_key or _credential()
    if path is None:
        return None
    why = exposed(path)
    if why is None:
        try:
            key = path.read_bytes().strip()
        except OSError as error:
            why = f"{path}: cannot be read: {error.strerror}"
        else:
            if len(key) >= KEY_BYTES:
                return keyed(key)
            why = f"{path}: has {len(key)} bytes; expected {KEY_BYTES} or more"
    raise config.places.error(("pseudonym_key", f"{why}; {_HOW}"))


def no_key(config: Config, asking: Sequence[str]) -> ConfigError:
    """The one mistake of a configuration without a key, at the first place that asks for one.

    Args:
        config: the configuration.
        asking: the key paths that ask for pseudonyms; none: a command does.
    """
    first, *others = asking or ["pseudonym_key"]
    also = f" (nor for {', '.join(others)})" if others else ""
    return config.places.error((first, f"there is no key for pseudonyms{also}; {_HOW}"))


def _credential() -> Path | None:
    """The file that systemd's `LoadCredential=pseudonym-key:…` gives to the service."""
    path = Path(os.environ.get("CREDENTIALS_DIRECTORY", ""), _CREDENTIAL)
    return path if path.is_absolute() and os.access(path, os.F_OK) else None
