"""`python -m collector` is `auditor-collector`."""

from collector.cli import main

main(prog_name="auditor-collector")
