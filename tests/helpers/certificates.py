"""Certificates for tests, made with the openssl command."""

import shutil
import subprocess
from pathlib import Path

import pytest

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A CA of its own, with its files in a folder; skips the test where there is no openssl."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed; it makes the certificates")
        self.folder, self.name = folder, name
        self._openssl(
            *("req", "-x509", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem"),
            *("-subj", f"/CN={name}"),
        )

    @property
    def certificate(self) -> Path:
        """Its own certificate."""
        return self.folder / f"{self.name}.pem"

    def issue(self, name: str, *, days: int = 1) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1, and its key; expired with negative days."""
        (self.folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        certificate, key = (self.folder / f"{name}.{kind}" for kind in ("pem", "key"))
        self._openssl("req", *_KEY, "-keyout", str(key), "-out", "request", "-subj", f"/CN={name}")
        self._openssl(
            *("x509", "-req", "-in", "request", "-CA", str(self.certificate)),
            *("-CAkey", f"{self.name}.key", "-CAcreateserial", "-extfile", "san"),
            *("-days", str(days), "-out", str(certificate)),
        )
        return certificate, key

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
