"""How a client knows the Auditor over TLS, and how it shows who it is."""

import ssl
from pathlib import Path


def context(address: str, certificate: tuple[Path, Path] | None, ca: Path | None) -> ssl.SSLContext:
    """Makes the settings; for plain HTTP ones that trust nobody and cost nothing.

    Args:
        address: of the Auditor, with its scheme.
        certificate: PEM files of our certificate and its key, for an Auditor that asks for one.
        ca: PEM file of the certificates that the Auditor's is checked against; None: the system's.

    Raises:
        ValueError: when a file cannot be used; names it.
    """
    if not address.startswith("https://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for path in (*(certificate or ()), ca):
        if path is not None and not path.is_file():
            raise ValueError(f"TLS: there is no file {path}")
    try:
        made = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"TLS: {ca} is not a PEM file of certificates: {error}") from error
    try:
        if certificate is not None:
            made.load_cert_chain(*certificate, password="")  # never asked for
    except (OSError, ssl.SSLError) as error:
        names = " and ".join(map(str, certificate or ()))
        raise ValueError(
            f"TLS: {names} are not a certificate and its key in PEM: {error}"
        ) from error
    return made
