"""The daemon: runs each source and the sender at its own interval until SIGTERM.

It only schedules, starts, stops and reports; what a poll or a pass does is in `pipeline/` and
`sender/`. Each source and the sender has one thread of the scheduler's pool, so a slow or hanging
source delays neither the others nor the sender; if a poll is still running when the next is due,
the next is skipped.

    service.py   Daemon: reads the configuration, and again on SIGHUP; feeds the watchdog
    runtime.py   Runtime: what runs under one configuration, from its start to its end
    periodic.py  PeriodicTask: a poll or a pass, and whether it makes progress
    poll.py      Poll: one source's poll
    health.py    problems and warnings, in words
    signals.py   signals, without a handler that could interrupt anything

End: SIGTERM or SIGINT. Sources finish the batch in flight (one that hangs is cut off after
seconds), the sender its request, everything else stays in the outbox. A crash instead of an end
loses nothing: see `outbox/`. SIGHUP: a new configuration takes over at the same point, so it loses
nothing either; a wrong one changes nothing, and stays visible until it is corrected.
"""

from collector.daemon.service import Daemon
from collector.daemon.signals import stop_on_signals

__all__ = ["Daemon", "stop_on_signals"]
