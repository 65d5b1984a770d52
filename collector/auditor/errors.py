"""What can go wrong between a client and an Auditor, and what each of it says about the request.

    AuditorError
    ├── RecordExistsError     at least one record is stored already; nothing of the request was
    ├── UnknownRecordError    the record to update, or to read, is not there
    ├── RefusedError          the Auditor never accepts this request: 400
    ├── TooLargeError         the body is over 2 MiB: 413
    ├── ForbiddenError        not by this client, or not at this address: 401, 403, 404, 3xx
    ├── UnavailableError      not now: no connection, TLS, 429, 502, 503
    │   └── TimedOutError     no whole answer in time: 408, 504, or nothing
    ├── UnexpectedError       the Auditor's database refused, or is away: other 500s
    └── ProtocolError         no answer that an Auditor gives
        └── UnprovenError     a success that does not prove what was asked for

Every one of them carries the status and the server's words. After `UnavailableError`,
`ProtocolError` and their kinds the request may or may not have been carried out; after every other
one, nothing was stored by it.
"""


class AuditorError(RuntimeError):
    """What went wrong between us and an Auditor.

    A RuntimeError, because programs written for `pyauditor` expect that one.

    Attributes:
        status: of the answer; None when there was none.
        words: what the server said, shortened; empty when it said nothing.
    """

    def __init__(self, message: str, *, status: int | None = None, words: str = "") -> None:
        super().__init__(f"{message}: {words}" if words else message)
        self.status = status
        self.words = words


class RecordExistsError(AuditorError):
    """At least one of the records is stored already; nothing of this request was stored."""


class UnknownRecordError(AuditorError):
    """The record to update, or to read, is not in the Auditor."""


class RefusedError(AuditorError):
    """The Auditor always refuses this request; send something else."""


class TooLargeError(AuditorError):
    """The body is longer than the Auditor reads; send less at a time."""


class ForbiddenError(AuditorError):
    """This client may not do this, or no Auditor is at this address; an administrator must act."""


class UnavailableError(AuditorError):
    """There is no answer now, so nobody knows whether the request was carried out; try later.

    Attributes:
        retry_after_s: how long the server asked us to wait, in seconds; None when it did not.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        words: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, status=status, words=words)
        self.retry_after_s = retry_after_s


class TimedOutError(UnavailableError):
    """There was no whole answer in time; a smaller request may be answered."""


class UnexpectedError(AuditorError):
    """The Auditor's database refused this request, or is away; its health check says which."""


class ProtocolError(AuditorError):
    """The answer is none that an Auditor gives; look at what listens at this address."""


class UnprovenError(ProtocolError):
    """The answer has the status of a success and does not prove it; ask whether it is stored."""
