"""Who may ask the embedded Auditor for what: roles by certificate, and no other site's web pages.

Roles are those of the real server, with the keys of its `rbac_config`: a client's common name
decides. `GET /health_check` is forbidden to every role, as there, where the policy names another
path. Unlike the real server 0.11.2, roles hold with and without `ignore_record_exists_error`.

A web page of somebody else's can make a browser ask us, under a name of its own that it has let
point here (DNS rebinding), or across origins. So the `Host` of a request must be an address, a name
without a dot, this machine's name, or one that was given; and an `Origin`, which only browsers
send, must be ourselves.
"""

import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import yaml
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

COMMON_NAME = "common_name"
"""Under this name a connection's state has the common name of the client's certificate."""


class Roles(msgspec.Struct, forbid_unknown_fields=True):
    """Common names of client certificates, by what they may do."""

    write_access_cn: list[str] = []
    """May store and update records."""
    read_access_cn: list[str] = []
    """May query records, and see the page."""
    monitoring_role_cn: list[str] = []
    """May read /metrics."""
    enforce_rbac: bool = True
    """As in the real server's configuration; must be true."""

    def may(self, common_name: str, method: str, path: str) -> bool:
        """Whether a client may ask for this."""
        if method in {"POST", "PUT"} and path in {"/record", "/records"}:
            return common_name in self.write_access_cn and (method, path) != ("PUT", "/records")
        if method != "GET":
            return False
        if path in {"/", "/records"} or path.startswith("/record/"):
            return common_name in self.read_access_cn
        return path == "/metrics" and common_name in self.monitoring_role_cn


def read_roles(path: Path) -> Roles:
    """Reads a YAML file of roles; also one with all of them under `rbac_config`.

    Raises:
        ValueError: when it cannot be read, or is none.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(document, dict) and "rbac_config" in document:
            document = document["rbac_config"]
        roles = msgspec.convert(document, Roles)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not roles.enforce_rbac:
        raise ValueError(f"{path}: enforce_rbac must be true; leave out --roles to enforce none")
    return roles


class Guard:
    """An ASGI application before another, that turns away who may not ask."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = (), roles: Roles | None = None) -> None:
        """Lets through what may be asked.

        Args:
            app: that answers it.
            hosts: names of this server, beside those of the machine.
            roles: of the clients; None: everybody may everything.
        """
        self._app = app
        self._roles = roles
        own = {socket.gethostname(), socket.getfqdn(), *hosts}
        self._hosts = {name.rstrip(".").lower() for name in own}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or has it answered."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refused(headers.get(b"host"), headers.get(b"origin"))
        if not refused and self._roles is not None:
            common_name = scope.get("state", {}).get(COMMON_NAME, "")
            if not self._roles.may(common_name, scope["method"], scope["path"]):
                refused = "Insufficient permissions"
        if refused:
            await PlainTextResponse(refused, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refused(self, host: str | None, origin: str | None) -> str:
        """Why a request is refused; empty: it is not."""
        if host is not None and not self._is_ours(host):
            return (
                f"this Auditor does not answer to the name {host[:200]!r}; "
                "if it is one of its names, start it with --host NAME"
            )
        if origin is not None and urlsplit(origin).netloc.lower() != (host or "").lower():
            return "requests of other sites' pages are not answered"
        return ""

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        name = name.rstrip(".").lower()
        if "." not in name and ":" not in name:
            return True
        if name in self._hosts or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
