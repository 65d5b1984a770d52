"""Translates the configurations of the AUDITOR project's two Slurm collectors into ours.

Source of its format: `auditor-slurm-collector` 0.11 (`configuration.rs`, `sacctcaller.rs`).

Record ids stay the same (`<record_prefix>-<JobID>`) for the first run of a job, which is all that
it sends, so jobs that it has sent already are recognised by the Auditor and not counted twice: to
read from too early is harmless, from too late is not. Its database (`database.rs`) has the latest
end among the jobs of the last answer of sacct, written before the records of that answer are
stored, and the records that wait to be sent (bincode, whose last fields are start and stop). It
does not hear SIGTERM, so any part of that answer, which is at most `max_sacct_window` long, may be
lost. So `since` is that much before the earlier of the two.

The other one, `auditor-slurm-epilog-collector` (0.11, `configuration.rs`, `main.rs`), runs at the
end of each job, asks scontrol, and keeps nothing.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from collector_slurm.source import SlurmSource

_MIB = 1 / (1 << 20)
_TYPES: dict[str, dict[str, Any]] = {
    "Integer": {"type": "integer"},
    "IntegerMega": {"type": "memory", "factor": _MIB},
    "Time": {"type": "duration"},
    "String": {},
    "DateTime": {},
    "Id": {"type": "id"},
}
_JSON_ITEMS = ("voms", "subject", "headnode")
"""What ARC-CE writes into the comment of its jobs, and our defaults have rules for."""
_EPILOG_ONLY = frozenset({"site_id"})
_EPILOG = frozenset({"addr", "port", "record_prefix", "site_id", "components"})
_COLUMNS = {
    "NumCPUs": "AllocCPUS",
    "NumNodes": "NNodes",
    "UserId": "User",
    "GroupId": "Group",
    "JobState": "State",
    "NodeList": "NodeList",
    "Partition": "Partition",
    "QOS": "QOS",
    "Account": "Account",
    "JobName": "JobName",
    "WCKey": "WCKey",
    "Priority": "Priority",
}
"""Of scontrol, by which the epilog's collector names things → of sacct."""
_FILTERS = {
    "status": "states",
    "partition": "partitions",
    "user": "users",
    "group": "groups",
    "account": "accounts",
}
_KNOWN = frozenset(
    {
        *("collector_addr", "collector_port", "addr", "port", "record_prefix", "sites", "meta"),
        *("earliest_datetime", "components", "sacct_frequency", "sender_frequency", "tls_config"),
        *("database_path", "job_filter", "job_status", "log_level", "logging"),
        "max_sacct_window",
    }
)


DONE = "SELECT lastcheck, NULL, NULL FROM lastcheck UNION ALL SELECT NULL, id, record FROM records"
"""Of their database: the latest end that was seen; the records that are not sent."""
_NAMING = frozenset({"sites", "job_filter", "job_status", "sacct_frequency"})
"""Keys of which a file of theirs has one."""
_MAX_SACCT_WINDOW_S = 7 * 86400
_STOP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)\Z")


def convert(old: dict[str, Any]) -> dict[str, Any]:
    """Our configuration for theirs, as YAML has it.

    Args:
        old: their file, as YAML gives it.

    Raises:
        ValueError: for a file that is not one of theirs.
    """
    if _is_epilog(old):
        return _convert_epilog(old)
    if not _NAMING.intersection(old):
        raise ValueError(
            "expected a configuration of auditor-slurm-collector, with sites, job_filter or "
            "sacct_frequency"
        )
    source: dict[str, Any] = {
        "name": "slurm",
        "plugin": "slurm",
        "record_prefix": old.get("record_prefix", "slurm"),
        "interval_s": old.get("sacct_frequency", 10),
    }
    if "max_sacct_window" in old:
        source["window_s"] = old["max_sacct_window"]
    if "earliest_datetime" in old:
        source["since"] = str(old["earliest_datetime"]).replace(" ", "T")
    filters = {"status": old.get("job_status"), **(old.get("job_filter") or {})}
    for theirs, ours in _FILTERS.items():
        if values := filters.get(theirs):
            source[ours] = [str(value) for value in values]
    sites = old.get("sites") or []
    if len(sites) == 1 and sites[0].get("only_if"):
        source["only_if"] = [_condition(sites[0]["only_if"])]
    source["mapping"] = _mapping(old)
    config: dict[str, Any] = {"sources": [source]}
    if "sender_frequency" in old:
        config["sender"] = {"interval_s": old["sender_frequency"]}
    config["auditor"] = _auditor(old)
    if level := old.get("log_level"):
        config["log"] = {"level": str(level).lower()}
    return config


def _is_epilog(old: dict[str, Any]) -> bool:
    """Whether a file is one of the collector that runs in the epilog."""
    keys = set(old)
    names = bool(_EPILOG_ONLY & keys) or isinstance(old.get("components"), list)
    return names and keys <= _EPILOG


def _convert_epilog(old: dict[str, Any]) -> dict[str, Any]:
    components = old.get("components") or [{"name": "Cores", "key": "NumCPUs"}]
    site = {"name": old.get("site_id", "none")}
    as_other = {**old, "sites": [site], "components": [_of_sacct(one) for one in components]}
    as_other.pop("site_id", None)
    source = {
        "name": "slurm",
        "plugin": "slurm",
        "record_prefix": old.get("record_prefix", "slurm"),
    }
    return {"sources": [{**source, "mapping": _mapping(as_other)}], "auditor": _auditor(old)}


def _of_sacct(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with the columns of sacct in the place of scontrol's names."""
    found = dict(entry)
    if "key" in entry:
        found["key"] = _COLUMNS.get(entry["key"], entry["key"])
    if entry.get("only_if"):
        found["only_if"] = _of_sacct(entry["only_if"])
    if entry.get("scores"):
        found["scores"] = [
            {**_of_sacct(score), "value": score.get("value", score.get("factor"))}
            for score in entry["scores"]
        ]
    return found


def _epilog_differences(old: dict[str, Any]) -> list[str]:
    entries = list(old.get("components") or [])
    entries += [score for entry in entries for score in entry.get("scores") or []]
    keys = {entry.get("key") for entry in entries}
    keys |= {(entry.get("only_if") or {}).get("key") for entry in entries}
    return [
        (
            "sacct is asked once a minute for what ended: take the old collector out of Epilog or "
            "EpilogSlurmctld in slurm.conf; collect-job can run there, and need not"
        ),
        (
            "it kept no list of what it has sent: set `since` to a time well before it is taken "
            "out; what it has sent is found in the Auditor, by the same ids"
        ),
        "every run of a requeued job is recorded, and what no epilog saw (a node that failed)",
        *(
            f"{key}: of scontrol; say which column of sacct it is"
            for key in sorted(keys - _COLUMNS.keys() - {None})
        ),
    ]


def differences(old: dict[str, Any]) -> list[str]:
    """What of their configuration does not carry over, or is done in another way."""
    if _is_epilog(old):
        return _epilog_differences(old)
    found = [
        "every run of a requeued or resized job is recorded; theirs has only one row of each job",
        "suspended time is taken off the end; theirs counts it as run time",
        "jobs that never started are left out; theirs records those cancelled while pending",
        "theirs ends at a job whose deadline passed while it was pending, if status has deadline",
        "components are read from all steps, so MaxRSS is the largest; theirs looks at .batch only",
        "a time is a number of seconds, also with days in it (1-02:03:04), which theirs misreads",
        "local times are never converted with today's offset: sacct is asked in UTC",
        "a component or meta without a value is left out; theirs drops the job",
    ]
    if not (old.get("job_status") or (old.get("job_filter") or {}).get("status")):
        found.append("all ended jobs are recorded; theirs has completed ones only, by default")
    mega = [
        entry["name"]
        for entry in old.get("components") or []
        if entry.get("key_type") == "IntegerMega" and str(entry["key"]).startswith("Max")
    ]
    found += [f"component {name}: in MiB; theirs cuts the last digit of bytes" for name in mega]
    sites = old.get("sites") or []
    if len(sites) > 1 and all(site.get("only_if") for site in sites):
        found.append("jobs of no site are recorded without site_id; theirs leaves them out")
    return found + [f"{key}: not a key of theirs; left out" for key in sorted(set(old) - _KNOWN)]


def database(old: dict[str, Any]) -> str:
    """Where their database is; seen from their collector's working directory. Empty: none."""
    if _is_epilog(old):
        return ""
    url = str(old.get("database_path", "sqlite://testdb.db"))
    return url.removeprefix("sqlite:").removeprefix("//").partition("?")[0]


def go_on(old: dict[str, Any], rows: Iterable[Sequence[Any]]) -> tuple[datetime | None, list[str]]:
    """From what time on ours has to read."""
    if _is_epilog(old):
        return None, []
    ends, unsent = [], 0
    for lastcheck, record_id, record in rows:
        if record_id is None:
            ends.append(datetime.fromisoformat(lastcheck).astimezone(UTC))
            continue
        unsent += 1
        if stop := _STOP.search(record):
            ends.append(datetime.fromisoformat(stop[1].decode()))
    said = []
    if unsent:
        said.append(
            f"{unsent} records in its database are not sent; they are read from Slurm again. Where "
            "Slurm does not keep jobs that long, let it send them first"
        )
    if not ends:
        return None, [*said, "its database says of no job that it was collected"]
    since = min(ends) - timedelta(seconds=old.get("max_sacct_window", _MAX_SACCT_WINDOW_S))
    if "earliest_datetime" in old:
        since = max(since, datetime.fromisoformat(str(old["earliest_datetime"])).astimezone(UTC))
    said.append(
        f"the last job that it sent ended {min(ends).isoformat()}, or later; `since` is as much "
        "before as it asks sacct for at once, since it loses an answer when it is stopped; what it "
        "has sent of that time is found in the Auditor"
    )
    return since, said


def _mapping(old: dict[str, Any]) -> dict[str, Any]:
    """Their rules, without our defaults where they have none of that name."""
    defaults = yaml.safe_load(SlurmSource.mapping)
    meta: dict[str, Any] = {}
    sites = [
        {"value": str(site["name"]), **_only_if(site)}
        for site in old.get("sites") or [{"name": "NOT_CONFIGURED"}]
    ]
    meta["site_id"] = sites[0] if len(sites) == 1 else sites
    meta["user_id"], meta["group_id"] = "User", "Group"
    for entry in old.get("meta") or []:
        if entry.get("key_type") == "Json":
            json = {"field": entry["key"], **_only_if(entry)}
            meta |= {item: {**json, "item": item, "optional": True} for item in _JSON_ITEMS}
            meta.setdefault("*", []).append({**json, "item": "*"})
        else:
            rule = {"field": entry["key"], **_TYPES[entry.get("key_type", "String")]}
            meta[entry["name"]] = {**rule, "optional": True, **_only_if(entry)}
    components: dict[str, Any] = {}
    for entry in old.get("components") or [{"name": "Cores", "key": "NCPUS"}]:
        rule = {"field": entry["key"], **_TYPES[entry.get("key_type", "Integer")]}
        if (default := entry.get("default_value")) is not None:
            rule["default"] = default
        else:
            rule["optional"] = True
        rule.update(_only_if(entry))
        for score in entry.get("scores") or []:
            scores = rule.setdefault("scores", {})
            scores.setdefault(score["name"], []).append(
                {"value": score["value"], **_only_if(score)}
            )
        components[entry["name"]] = rule
    for ours, theirs in (("meta", meta), ("components", components)):
        theirs |= {name: None for name in defaults[ours] if name not in theirs}
    return {"meta": meta, "components": components}


def _only_if(entry: dict[str, Any]) -> dict[str, Any]:
    return {"only_if": _condition(entry["only_if"])} if entry.get("only_if") else {}


def _condition(only_if: dict[str, Any]) -> dict[str, str]:
    return {"field": only_if["key"], "matches": only_if["matches"]}


def _auditor(old: dict[str, Any]) -> dict[str, Any]:
    tls = old.get("tls_config") or {}
    scheme = "https" if tls.get("use_tls") else "http"
    found: dict[str, Any] = {
        "url": f"{scheme}://{old.get('addr', '127.0.0.1')}:{old.get('port', 8000)}"
    }
    if tls.get("use_tls"):
        found["tls"] = {
            "ca": tls["ca_cert_path"],
            "certificate": tls["client_cert_path"],
            "key": tls["client_key_path"],
        }
    return found
