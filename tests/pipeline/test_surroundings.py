"""`check` looks at what a configuration meets on its machine."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.auditor.certificate import read_certificate
from collector.config import AuditorSection, Config, OutboxSection, TlsSection
from collector.pipeline.surroundings import file_system_of, look_around
from tests.helpers.certificates import Authority

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:50 / /var/lib rw - nfs4 server:/export rw
24 23 8:2 / /var/lib/local\\040disk rw - xfs /dev/sdb1 rw
25 22 8:3 / /srv rw - ext4 /dev/sdc rw
26 22 0:51 / /srv rw - nfs server:/srv rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc", "ext4"),
        ("/var/lib/auditor-collector", "nfs4"),
        ("/var/library", "ext4"),
        ("/var/lib/local disk/x", "xfs"),
        ("/srv/x", "nfs"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_nearest_mount(
    tmp_path: Path, path: str, kind: str
):
    """As proc(5) lists them; a later mount covers an earlier one at the same place."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert file_system_of(Path(path), mounts) == kind
    assert file_system_of(Path(path), tmp_path / "none") == ""


def test_a_certificate_that_ends_is_seen_before_it_ends(tmp_path: Path):
    """From 14 days before it is a warning, afterwards an error; else a note."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("client", days=60)
    tls = TlsSection(ca=certificate, certificate=certificate, key=key)
    config = Config(
        sources=[],
        outbox=OutboxSection(path=tmp_path / "outbox.db"),
        auditor=AuditorSection(url="https://127.0.0.1:1", timeout_s=1, tls=tls),
    )
    ends_at = read_certificate(certificate).not_after
    for days, level in ((30, "note"), (3, "warning"), (-1, "error")):
        found = list(look_around(config, ends_at - timedelta(days=days)))
        levels = [one.level for _, one in found if str(certificate) in one.text]
        assert levels == [level, level], found


def test_an_auditor_that_is_away_is_an_error_with_the_way_to_it(tmp_path: Path):
    """Through a proxy or not."""
    outbox = OutboxSection(path=tmp_path / "outbox.db")
    for proxy, way in ((None, "http://127.0.0.1:1: "), ("http://127.0.0.1:2", "through the proxy")):
        auditor = AuditorSection(url="http://127.0.0.1:1", timeout_s=1, proxy=proxy)
        config = Config(sources=[], outbox=outbox, auditor=auditor)
        (about, finding), *_ = look_around(config, datetime.now(UTC))
        assert (about, finding.level) == ("auditor", "error")
        assert way in finding.text
