"""A site whose outbox is full."""

import re
import time

from tests.htcondor.schedd import Schedd, ad
from tests.operation.watched import Watched


class Paused(Watched):
    """A site with a schedd, whose outbox is full after one record."""

    def write_config(self) -> None:
        super().write_config()
        text = self.config.read_text().replace(
            "min_free_bytes: 0}", "min_free_bytes: 0, max_records: 1}"
        )
        sources = (
            "  - {name: ap1, plugin: htcondor, record_prefix: ap1, interval_s: 0.1,"
            f" history: '{self.folder / 'history'}'}}\n"
        )
        self.config.write_text(re.sub("  - .*\n", lambda _: sources, text))

    def rotate_unread(self) -> None:
        """Lets the schedd write three jobs and rotate; the outbox has room for the first only."""
        schedd, now_s = Schedd(self.folder), int(time.time())
        for cluster, age_s in enumerate((10_000, 9_000, 100), 1):
            schedd.append(ad(cluster, EnteredCurrentStatus=now_s - age_s))
            if age_s > 100:
                schedd.rotate()
