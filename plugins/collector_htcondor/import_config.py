"""Translates the configuration of the AUDITOR project's HTCondor collector into ours.

Source of its format: `auditor-htcondor-collector` 0.11.2 (`config.py`, `collector.py`, `utils.py`).

Record ids stay the same (`<record_prefix>-<GlobalJobId>`), so jobs that it has sent already are
recognised by the Auditor and not counted twice: to read from too early is harmless, from too late
is not. Its state database (`state_db.py`) names the job that it took last, for each schedd and
prefix: not the highest number, but a place in the history, which it reads in the order in which
jobs left the queue. All that left after that job is not collected yet, and may have ended long
before it. So `since` is the end of that job less the longest time that HTCondor itself keeps a job
in the queue after its end; and the old collector's `earliest_datetime` where that job is unknown.
"""

import re
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from collector.source import SourceError
from collector_htcondor import command
from collector_htcondor.rotation import left_queue
from collector_htcondor.source import HTCondorSource

_LEVELS = {"CRITICAL": "error"}
_FIELD = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)
_KNOWN = frozenset(
    {
        *("addr", "port", "timeout", "tls_config", "record_prefix", "schedd_names", "pool"),
        *("interval", "earliest_datetime", "job_status", "constraint", "history_file", "meta"),
        *("components", "log_level", "log_file", "state_db", "query_type", "job_id", "one_shot"),
    }
)


DONE = "SELECT schedd, prefix, cluster, proc FROM last_jobs"
"""Of their database: the job that was taken last, for each schedd and prefix."""
_TIMEOUT_S = 300
_STAY = timedelta(days=11)
"""Spooled jobs, as a CE's, stay in the queue for 10 days after their end."""


def convert(old: dict[str, Any]) -> dict[str, Any]:
    """Our configuration for theirs, as YAML has it.

    Args:
        old: their file, as YAML gives it.

    Raises:
        ValueError: for a file that is not one of theirs; says what is missing.
    """
    if missing := {"record_prefix", "meta", "components"} - set(old):
        raise ValueError(
            "expected a configuration of auditor-htcondor-collector, but "
            f"{' and '.join(sorted(missing))} {'is' if len(missing) == 1 else 'are'} missing"
        )
    if not isinstance(old["meta"], dict):
        raise ValueError("expected names under meta, as auditor-htcondor-collector has them")  # noqa: TRY004
    source: dict[str, Any] = {
        "name": str((old.get("schedd_names") or ["htcondor"])[0]),
        "plugin": "htcondor",
        "record_prefix": old["record_prefix"],
        "interval_s": old.get("interval", 900),
    }
    if "earliest_datetime" in old:
        source["since"] = _since(old["earliest_datetime"])
    if history := old.get("history_file"):
        source["history"] = history
    if _asks_elsewhere(old):
        source["mode"] = "condor_history"
        given = {name: old.get(name) for name in ("schedd_names", "pool", "constraint")}
        source |= {name: value for name, value in given.items() if value}
        source |= {"rescan_s": int(_STAY.total_seconds()), "rescan_interval_s": 86400}
    statuses = old.get("job_status") or []
    if statuses and not {3, 4} <= set(statuses):
        pattern = "|".join(str(status) for status in statuses)
        source["only_if"] = [{"field": "JobStatus", "matches": f"^({pattern})$"}]
    source["mapping"] = _mapping(old)
    config: dict[str, Any] = {"sources": [source]}
    if auditor := _auditor(old):
        config["auditor"] = auditor
    if level := old.get("log_level"):
        config["log"] = {"level": _LEVELS.get(level, level.lower())}
    return config


def differences(old: dict[str, Any]) -> list[str]:
    """What of their configuration does not carry over, or is done in another way."""
    found = [
        "runs begin at JobCurrentStartDate, not at LastMatchTime, which may be seconds earlier",
        "a score without a value is left out of the record; it was 0",
        "a component without a value is what our defaults take, or left out; theirs drops the job",
        "jobs whose record cannot be made are kept in `auditor-collector rejected`",
    ]
    if _asks_elsewhere(old):
        found.append(
            "schedds are asked by condor_history, as they are now; a collector beside each schedd "
            "that reads its files (mode: history) is cheaper, and exact where a schedd was killed"
        )
        found.append(
            "jobs that stay in the queue after their end (spooled ones, up to 10 days) are looked "
            "for once a day (rescan_s); theirs takes them in the order in which they leave it"
        )
    elif old.get("constraint"):
        found.append(
            f"constraint {old['constraint']!r}: write it as conditions under only_if, "
            "{field, matches}"
        )
    found += [
        f"meta {name}: of several entries only the first with a value is taken"
        for name, entries in old.get("meta", {}).items()
        if name != "site" and isinstance(entries, list) and len(entries) > 1
    ]
    found += [
        f"component {entry['name']}: in KiB, as theirs; our own MaxRSS is in MiB"
        for entry in old.get("components") or []
        if str(entry.get("key")).startswith("ResidentSetSize")
    ]
    if old.get("log_file"):
        found.append("log_file: the log goes to standard error, for systemd's journal")
    found += [f"{key}: not a key of theirs; left out" for key in sorted(set(old) - _KNOWN)]
    return found


def database(old: dict[str, Any]) -> str:
    """Where their database is; seen from their collector's working directory."""
    return str(old.get("state_db", ""))


def go_on(old: dict[str, Any], rows: Iterable[Sequence[Any]]) -> tuple[datetime | None, list[str]]:
    """From what time on ours has to read; asks `condor_history` when jobs ended."""
    last = {row[0]: tuple(row[2:]) for row in rows if row[1] == old["record_prefix"]}
    said, ends = [], []
    for schedd in old.get("schedd_names") or sorted(last):
        try:
            ends.append(_end(old, schedd, last.get(schedd)))
        except SourceError as error:
            said.append(f"{schedd}: {error}")
    if said or not ends:
        until = old.get("earliest_datetime", "not set: set it by hand, as early as theirs began")
        return None, [*said, f"so `since` is {until}; what it has sent is found in the Auditor"]
    since = min(ends) - _STAY
    if "earliest_datetime" in old:
        since = max(since, datetime.fromisoformat(_since(old["earliest_datetime"])))
    said.append(
        f"the last job that it collected ended {min(ends).isoformat()}; `since` is 11 days before, "
        "for jobs that leave the queue long after their end; what it has sent of that time is "
        "found in the Auditor"
    )
    return since, said


def _end(old: dict[str, Any], schedd: str, job: tuple[Any, ...] | None) -> datetime:
    """When the job that theirs took last had ended.

    Raises:
        SourceError: when it is not known, with the reason.
    """
    if job is None or [type(part) for part in job] != [int, int]:
        raise SourceError(f"its database has no job of prefix {old['record_prefix']}")
    number = f"{job[0]}.{job[1]}"
    pool, file = old.get("pool"), old.get("history_file")
    where = ["-file", file] if file else [*(["-pool", pool] if pool else []), "-name", schedd]
    arguments = ["condor_history", *where, "-limit", "1", "-long", number]
    with command.answer(arguments, _TIMEOUT_S, threading.Event()) as found:
        for ad in found.ads():
            if end := left_queue(ad):
                return datetime.fromtimestamp(end, UTC)
    raise SourceError(f"{number}, the last job that it collected, is no longer in the history")


def _asks_elsewhere(old: dict[str, Any]) -> bool:
    """Whether only condor_history gives what theirs read: other schedds, or chosen jobs."""
    several = len(old.get("schedd_names") or []) > 1
    return not old.get("history_file") and bool(several or old.get("pool") or old.get("constraint"))


def _since(given: object) -> str:
    """Their text, or what YAML made of it, is in UTC."""
    instant = datetime.fromisoformat(str(given))
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).isoformat()


def _mapping(old: dict[str, Any]) -> dict[str, Any]:
    """Their rules, without our defaults where they have none of that name."""
    defaults = yaml.safe_load(HTCondorSource.mapping)
    meta: dict[str, Any] = {name: None for name in defaults["meta"] if name not in old["meta"]}
    for name, entries in old["meta"].items():
        rules = [_rule(one) for one in (entries if isinstance(entries, list) else [entries])]
        meta[name] = rules[0] if len(rules) == 1 else rules
    components: dict[str, Any] = {}
    for entry in old["components"]:
        rule = _rule(entry, amount=True)
        if scores := entry.get("scores"):
            rule["scores"] = {}
            for score in scores:
                rule["scores"].setdefault(score["name"], []).append(_rule(score, amount=True))
        components[entry["name"]] = _never_missing(rule, defaults["components"])
    components |= {name: None for name in defaults["components"] if name not in components}
    return {"meta": meta, "components": components}


def _never_missing(rule: dict[str, Any], defaults: dict[str, Any]) -> Any:
    """The rule, with what our defaults take where a job has no such attribute.

    Theirs drops a job that lacks a component: all of the local, parallel and grid universe, whose
    jobs have no CpusProvisioned. Which of them are accounted is said by `universes`, as with our
    defaults.
    """
    if "value" in rule or "only_if" in rule:
        return rule
    for rules in defaults.values():
        if isinstance(rules, list) and rules[0].get("field") == rule.get("field", ""):
            return [{**rule, "optional": True, **_conditions(rules[0])}, *rules[1:]]
    return {**rule, "optional": True}


def _conditions(rule: dict[str, Any]) -> dict[str, Any]:
    return {"only_if": rule["only_if"]} if "only_if" in rule else {}


def _rule(entry: dict[str, Any], *, amount: bool = False) -> dict[str, Any]:
    """One entry: `key` or a constant, `matches`, `only_if`."""
    conditions = []
    if only_if := entry.get("only_if"):
        conditions.append({"field": only_if["key"], "matches": only_if["matches"]})
    key, matches = entry.get("key"), entry.get("matches")
    constant = entry.get("factor", entry.get("name"))
    rule: dict[str, Any]
    if key is None:
        rule = {"value": constant if amount else str(constant)}
    elif matches is not None and not re.compile(matches).groups:
        rule = {"value": entry["name"]}
        conditions.insert(0, {"field": key, "matches": matches})
    else:
        rule = {"field" if _FIELD.match(key) else "expr": key}
        if matches is not None:
            rule["matches"] = matches
        if not amount:
            rule["optional"] = True
    if conditions:
        rule["only_if"] = conditions[0] if len(conditions) == 1 else conditions
    return rule


def _auditor(old: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    tls = old.get("tls_config") or {}
    if "addr" in old:
        scheme = "https" if tls.get("use_tls") else "http"
        found["url"] = f"{scheme}://{old['addr']}:{old['port']}"
    if "timeout" in old:
        found["timeout_s"] = old["timeout"]
    if tls.get("use_tls"):
        found["tls"] = {
            "ca": tls["ca_cert_path"],
            "certificate": tls["client_cert_path"],
            "key": tls["client_key_path"],
        }
    return found
