"""The daemon: runs each source and the sender at its own interval until it is told to end.

It only schedules, starts, stops and reports; what a poll or a pass does stands in `collect.py` and
`sender/`. Each source and the sender has one thread of the scheduler's pool, so a slow or hanging
source holds up neither the others nor the sender; a poll that is still running when the next one is
due replaces it.

    service.py   Daemon: reads the configuration, and again on SIGHUP; feeds the watchdog
    shift.py     Shift: what runs under one configuration, from its start to its end
    work.py      Work: one thing that is done again and again, and whether it gets on
    poll.py      Poll: one source's poll
    health.py    what is wrong, in words
    signals.py   signals, without a handler that could interrupt anything

End: SIGTERM or SIGINT. Sources finish the batch in flight, the sender its request, everything else
stays in the outbox. A crash instead of an end loses nothing: see `outbox/`. SIGHUP: a new
configuration takes over at the same point, so it loses nothing either; a wrong one changes nothing.
"""

from collector.daemon.service import Daemon
from collector.daemon.signals import stop_on_signals

__all__ = ["Daemon", "stop_on_signals"]
