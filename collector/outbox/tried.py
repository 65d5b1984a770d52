"""The newest jobs of a source, and of how many no record could be made: one user's fault, or ours?

One user can make any number of jobs that cannot be mapped; that is a warning. Jobs of several
users, or of all, are rejected because of the configuration, the batch system or this program: that
is a fault, for which everything is red, since reading and sending work well meanwhile.
"""

import re
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from collector.logs import printable

JOBS = 100
"""So many are looked at."""
_USERS = 3
"""Jobs of so many users are no one's own fault."""
_KNOWN_USERS = 500
_REASON_LENGTH = 200
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
"""What a user wrote: it does not go where everybody may read (logs, /healthz, systemctl)."""
_NUMBER = re.compile(r"\d+")


class Tried(msgspec.Struct):
    """The newest jobs that no rule left out."""

    jobs: list[tuple[str, str]] = []
    """(user, reason), oldest first; without a reason where a record was made."""
    users: dict[str, bool] = {}
    """User → whether a record was made of the newest job; who was seen last is last."""

    def add(self, jobs: Iterable[tuple[str, str]]) -> None:
        """Adds jobs that were read: (user as the batch system says, reason or nothing)."""
        for name, reason in jobs:
            user = blake2b(name.encode(errors="replace"), digest_size=6).hexdigest()
            self.jobs.append((user, printable(_QUOTED.sub("…", reason))[:_REASON_LENGTH]))
            self.users.pop(user, None)
            self.users[user] = not reason
        del self.jobs[:-JOBS]
        while len(self.users) > _KNOWN_USERS:
            del self.users[next(iter(self.users))]

    @property
    def rejected(self) -> int:
        """Of how many no record could be made."""
        return sum(bool(reason) for _, reason in self.jobs)

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.rejected / len(self.jobs) if self.jobs else 0.0

    @property
    def is_red(self) -> bool:
        """Over half of the jobs, of several users or of all that were seen."""
        users = {user for user, reason in self.jobs if reason}
        alone = len(users) < _USERS and any(
            good and user not in users for user, good in self.users.items()
        )
        return self.share > 0.5 and not alone  # noqa: PLR2004 - a half

    @property
    def reason(self) -> str:
        """The commonest reason, as one job had it; empty if none was rejected."""
        reasons = [reason for _, reason in reversed(self.jobs) if reason]
        if not reasons:
            return ""
        ((kind, _),) = Counter(_NUMBER.sub("0", reason) for reason in reasons).most_common(1)
        return next(reason for reason in reasons if _NUMBER.sub("0", reason) == kind)

    def __str__(self) -> str:
        """`60 of the last 100 jobs were rejected, mostly: …`; empty if none was."""
        if not self.rejected:
            return ""
        if len(self.jobs) == 1:
            return f"the last job was rejected: {self.reason}"
        were = "was" if self.rejected == 1 else "were"
        return (
            f"{self.rejected} of the last {len(self.jobs)} jobs {were} rejected, "
            f"mostly: {self.reason}"
        )
