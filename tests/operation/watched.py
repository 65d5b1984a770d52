"""A site whose daemon is asked for metrics and health over HTTP."""

import socket
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.site import Site

Samples = dict[tuple[str, str], float]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Watched(Site):
    """A site whose daemon is asked over HTTP."""

    def __post_init__(self) -> None:
        self.port = free_port()
        self.limits = ""
        super().__post_init__()

    def write_config(self) -> None:
        self.more = (
            f"metrics: {{listen: '127.0.0.1:{self.port}', free_limit_bytes: 0,"
            f" textfile_interval_s: 0.1, textfile: {self.folder}/collector.prom{self.limits}}}\n"
        )
        super().write_config()

    def get(self, page: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{page}", timeout=30) as said:
                return said.status, said.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def samples(self) -> Samples:
        """(name, values of its labels in the order of their names) → value."""
        status, text = self.get("/metrics")
        return samples(text) if status == 200 else {}


def samples(text: str) -> Samples:
    return {
        (sample.name, ",".join(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
