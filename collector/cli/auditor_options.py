"""Which Auditor a command asks: by address, or by a configuration."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from collector.auditor.protocol import AuditorError
from collector.cli.options import exit_for_config, load_or_exit
from collector.config import ConfigError

if TYPE_CHECKING:
    from collector.auditor.client import AuditorClientBlocking

_DEFAULT = "http://127.0.0.1:8000"
_OPTIONS = (
    click.option("--url", metavar="URL", help=f"Address of the Auditor. [default: {_DEFAULT}]"),
    click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Ask the Auditor of this configuration, with its certificates, instead of --url.",
    ),
    click.option("--tls-cert", type=click.Path(path_type=Path), help="PEM: our certificate."),
    click.option("--tls-key", type=click.Path(path_type=Path), help="PEM: its key."),
    click.option("--tls-ca", type=click.Path(path_type=Path), help="PEM: the CA of the server."),
)


class AskedAuditor(msgspec.Struct):
    """What the options say."""

    url: str | None
    config_path: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    tls_ca: Path | None

    @contextlib.contextmanager
    def client(self) -> "Iterator[AuditorClientBlocking]":
        """A client for it; an error of the Auditor inside the `with` ends the command with 1.

        Raises:
            click.UsageError: for an address or files that cannot be used.
        """
        try:
            client, address = self._made()
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        with client:
            try:
                yield client
            except AuditorError as error:
                raise click.ClickException(f"{address}: {error}") from error

    def _made(self) -> "tuple[AuditorClientBlocking, str]":
        from collector.auditor.client import AuditorClientBuilder  # noqa: PLC0415 - heavy

        if self.config_path is not None:
            if self.url or self.tls_cert or self.tls_key or self.tls_ca:
                raise click.UsageError("--config names address and certificates; give it alone")
            from collector.pipeline.assemble import make_client  # noqa: PLC0415 - likewise

            config = load_or_exit(self.config_path)
            try:
                return make_client(config.auditor, config.places), config.auditor.url
            except ConfigError as error:
                exit_for_config(error)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise click.UsageError("--tls-cert and --tls-key belong together")
        address = self.url or _DEFAULT
        builder = AuditorClientBuilder().plain_errors().connection_string(address)
        if self.tls_cert and self.tls_key:
            builder.with_tls(self.tls_cert, self.tls_key)
        if self.tls_ca:
            builder.with_ca(self.tls_ca)
        return builder.build_blocking(), address


def auditor_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--url`, `--config` and `--tls-…`, given to the command as `auditor`."""

    @functools.wraps(command)
    def with_auditor(**given: Any) -> None:
        asked = AskedAuditor(*(given.pop(name) for name in AskedAuditor.__struct_fields__))
        command(auditor=asked, **given)

    for option in reversed(_OPTIONS):
        with_auditor = option(with_auditor)
    return with_auditor
