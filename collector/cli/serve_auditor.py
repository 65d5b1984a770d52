"""`serve-auditor`: the embedded Auditor as a process of its own."""

import sqlite3
from pathlib import Path

import click

from collector import logs
from collector.cli.options import CONTEXT


@click.command("serve-auditor", context_settings=CONTEXT)
@click.option(
    "--db",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The SQLite file with the records; created when it is missing.",
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8000",
    show_default=True,
    help="Where to listen; port 0 lets the system choose one.",
)
@click.option(
    "--ignore-record-exists-error",
    is_flag=True,
    help="Answer 200 with a warning, instead of 500, when a record is stored already.",
)
@click.option("--tls-cert", type=click.Path(exists=True, path_type=Path), help="Our certificate.")
@click.option("--tls-key", type=click.Path(exists=True, path_type=Path), help="Its key.")
@click.option(
    "--tls-ca",
    type=click.Path(exists=True, path_type=Path),
    help="The CA of the clients; one without its certificate is turned away.",
)
@click.option(
    "--roles",
    "roles_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file of who may do what, by common name: write_access_cn, read_access_cn, "
    "monitoring_role_cn; needs --tls-….",
)
@click.option(
    "--host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="A name under which this server is reached, beside the machine's; may be repeated.",
)
def command(
    db: Path,
    listen: str,
    *,
    ignore_record_exists_error: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    roles_path: Path | None,
    hosts: tuple[str, ...],
) -> None:
    """Run an Auditor that keeps its records in one SQLite file.

    It has the API of the real server, for trying out, developing and testing; a page at its
    address shows what it holds. Needs the extra `server`.

    \b
    Example:
      auditor-collector serve-auditor --db auditor.db --listen 127.0.0.1:8000
    """
    try:
        from collector.embedded.access import read_roles  # noqa: PLC0415 - an extra, and heavy
        from collector.embedded.server import Tls, serve  # noqa: PLC0415 - likewise
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"the embedded Auditor needs {error.name}; "
            "install it with: pip install 'auditor-collector[server]'"
        ) from None
    tls = None
    if tls_cert or tls_key or tls_ca:
        if not (tls_cert and tls_key and tls_ca):
            raise click.UsageError("--tls-cert, --tls-key and --tls-ca belong together")
        tls = Tls(tls_cert, tls_key, tls_ca)
    elif roles_path:
        raise click.UsageError("--roles needs --tls-cert, --tls-key and --tls-ca")
    logs.set_up()
    try:
        serve(
            db,
            listen,
            lambda url: click.echo(f"listening on {url}"),
            ignore_record_exists_error=ignore_record_exists_error,
            tls=tls,
            hosts=hosts,
            roles=None if roles_path is None else read_roles(roles_path),
        )
    except (OSError, ValueError, sqlite3.Error) as error:
        raise click.ClickException(f"cannot serve {db} on {listen}: {error}") from error
