"""The embedded Auditor (extra `server`): the Auditor's HTTP API on one SQLite file, and its page.

`server.py` answers requests, `intake.py` reads what is posted, `filters.py` reads queries,
`store.py` is the file, `page.py` and `charts.py` draw the page, `exposition.py` its metrics. It
shares nothing with the client in `collector/auditor/` but the limits of the protocol.
"""
