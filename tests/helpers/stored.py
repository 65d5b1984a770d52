"""What an Auditor holds."""

from tests.helpers.auditor_server import RunningAuditor


def ids(auditor: RunningAuditor) -> list[str]:
    """The ids of all records, sorted."""
    with auditor.client() as client:
        return sorted(record.record_id for record in client.stream_query())


def names(*numbers: int, prefix: str = "jobs") -> list[str]:
    """The ids that the jobs of these numbers have, sorted."""
    return sorted(f"{prefix}-{number}" for number in numbers)
