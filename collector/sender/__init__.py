"""The sender: takes what is due from the outbox, sends it, settles the verdicts; pass by pass.

It alone knows both outbox and client. A crash at any point leaves everything that was not settled
in the outbox: it is sent again, found in the Auditor, and settled. While the Auditor is away, or
somebody has to act, every pass costs one request at most, and nothing is rejected.
"""

from collector.sender.passes import Pass, Sender

__all__ = ["Pass", "Sender"]
