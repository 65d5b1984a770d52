"""How a client recognises the Auditor over TLS, and how it shows who it is.

The PEM files are read again when they have changed on disk, at the next connection: a renewed
certificate needs no reload. While a changed file cannot be used (half of a pair is written), the
connection uses what was read before, and the next one looks again.
"""

import ssl
import threading
from pathlib import Path

_Stamp = tuple[tuple[int, int, int], ...]


class Tls:
    """The PEM files of a client, and the settings made of them."""

    def __init__(
        self,
        certificate: tuple[Path, Path] | None = None,
        ca: Path | None = None,
    ) -> None:
        """Reads the files.

        Args:
            certificate: our certificate and its key, for an Auditor that asks for one.
            ca: the certificates that the Auditor's is checked against; None: the system's.

        Raises:
            ValueError: when a file cannot be used; names it.
        """
        self._certificate, self._ca = certificate, ca
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._context = self._read()
        self.problem = ""
        """Why files that have changed are not in use; empty when they are."""

    def context(self) -> ssl.SSLContext:
        """The settings for a new connection, from the files as they are now if they can be used."""
        with self._lock:
            stamp = self._look()
            if stamp != self._stamp:
                try:
                    self._context = self._read()
                except ValueError as error:
                    self.problem = str(error)
                else:
                    self._stamp, self.problem = stamp, ""
            return self._context

    def _look(self) -> _Stamp:
        """What changes when a file does."""
        stamps = []
        for path in (*(self._certificate or ()), self._ca):
            try:
                status = path.stat() if path is not None else None
            except OSError:
                status = None
            if status is None:
                stamps.append((0, 0, 0))
            else:
                stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(stamps)

    def _read(self) -> ssl.SSLContext:
        for path in (*(self._certificate or ()), self._ca):
            if path is not None and not path.is_file():
                raise ValueError(f"TLS: there is no file {path}")
        try:
            made = ssl.create_default_context(cafile=self._ca)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(
                f"TLS: {self._ca} is not a PEM file of certificates: {error}"
            ) from error
        try:
            if self._certificate is not None:
                made.load_cert_chain(*self._certificate, password="")  # never asked for
        except (OSError, ssl.SSLError) as error:
            names = " and ".join(map(str, self._certificate or ()))
            raise ValueError(
                f"TLS: {names} are not a certificate and its key in PEM: {error}"
            ) from error
        made.set_alpn_protocols(["http/1.1"])
        return made
