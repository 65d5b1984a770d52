"""What AUDITOR's APEL plugin will make of our records, before it does.

The plugin reads a month of a site's records and sums them up for EGI. A component or score that its
configuration names and one record lacks ends the whole month; a meta key that is missing becomes
the VO `None`. So the newest jobs are made into records, and each field that the plugin wants is
looked for in them.

Source of its rules: `auditor-apel-plugin` 0.11.2, `config.py` and `core.py`.
"""

import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from collector.config import Config
from collector.logs import Log
from collector.mapping import Mapping
from collector.mapping.rules import fields_of
from collector.outbox import NewRecord
from collector.pipeline.entries import entries_of
from collector.pipeline.newest import newest_of
from collector.pipeline.sources import MappedSource, make_sources
from collector.record import Record, decode
from collector.source import Finding, Job, SourceError, Unreadable

_LIMIT_S = 20.0
_ABORTS = "one such record ends the plugin's month of the whole site"
_PAGE = "docs/apel.md"


class Wanted(msgspec.Struct):
    """One thing that the plugin reads of a record."""

    field: str
    """The field of the message, e.g. VO."""
    kind: str
    """meta, component or score."""
    name: str
    component: str = ""
    """Of a score."""
    regex: str | None = None
    """Of meta: has to be found in the first text."""


class Plugin(msgspec.Struct):
    """What of the plugin's configuration its records depend on."""

    site_keys: list[str]
    """Meta keys, of which each record needs one with a site."""
    sites: list[str]
    """Sites that are reported; none: any."""
    wanted: list[Wanted]


USUAL = Plugin(
    ["site_id"],
    [],
    [
        Wanted("Processors", "component", "Cores"),
        Wanted("NodeCount", "component", "NNodes"),
        Wanted("CpuDuration", "component", "TotalCPU"),
        Wanted("NormalisedWallDuration", "score", "HEPscore23", "Cores"),
        Wanted("VO", "meta", "voms"),
        Wanted("SubmitHost", "meta", "submithost"),
        Wanted("GlobalUserName", "meta", "subject"),
    ],
)
"""What the configuration of docs/apel.md has."""


def read_plugin(path: Path) -> Plugin:
    """Reads the plugin's own configuration.

    Raises:
        ValueError: when it is none, with what is missing.
    """
    try:
        given = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    try:
        keys = given["auditor"]["site_meta_field"]
        sites = given["site"]["sites_to_report"]
        fields = given["summary_fields"]["mandatory"] | given["summary_fields"].get("optional", {})
        wanted = [one for name, field in fields.items() for one in _wanted(name, field)]
        return Plugin(
            [keys] if isinstance(keys, str) else list(keys),
            [str(site) for of_site in sites.values() for site in of_site],
            list({(one.kind, one.name, one.component): one for one in wanted}.values()),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected a configuration of auditor-apel-plugin, with auditor.site_meta_field"
            f", site.sites_to_report and summary_fields.mandatory ({error!r})"
        ) from None


class _Loader(yaml.SafeLoader):
    """Reads the plugin's own tags as mappings that say which tag they had."""


def _tagged(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[Any, Any]:
    given = loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else {}
    return {"tag": tag} | given


_Loader.add_multi_constructor("!", _tagged)


def _wanted(field: str, given: dict[str, Any]) -> Iterator[Wanted]:
    match given["tag"]:
        case "ComponentField":
            yield Wanted(field, "component", given["name"])
        case "ScoreField":
            yield Wanted(field, "score", given["name"], given["component_name"])
        case "MetaField":
            yield Wanted(field, "meta", given["name"], regex=given.get("regex"))
        case "NormalisedField":
            yield from _wanted(field, given["score"])
            if "base_value" in given:
                yield from _wanted(field, given["base_value"])


def check_for_apel(config: Config, plugin: Plugin, log: Log) -> Iterator[tuple[str, Finding]]:
    """Looks at the newest jobs of each source, and yields (source, finding).

    Args:
        config: ours.
        plugin: what the plugin wants.
        log: for what sources say meanwhile.
    """
    for number, section in enumerate(config.sources):
        stop = threading.Event()
        mapped = make_sources(config, log, stop)[number]
        try:
            jobs = newest_of(mapped.source, stop, _LIMIT_S)
        except SourceError as error:
            yield section.name, Finding.error(f"APEL: the newest jobs cannot be read: {error}")
            continue
        for finding in judge_for_apel(jobs, mapped, plugin):
            yield section.name, finding


def judge_for_apel(
    jobs: list[Job | Unreadable], mapped: MappedSource, plugin: Plugin
) -> Iterator[Finding]:
    """What the plugin will miss in the records of jobs.

    Args:
        jobs: the newest of a source.
        mapped: the source, and the mapping.
        plugin: what it wants.
    """
    entries = [one for one in entries_of(jobs, mapped) if isinstance(one, NewRecord)]
    records = [decode(entry.body) for entry in entries]
    if getattr(mapped.source.section, "track_running", False):
        yield Finding.error(
            "APEL: track_running: true sends records before their TotalCPU is known, and no "
            f"Auditor adds it later; {_ABORTS}. Set it to false ({_PAGE})"
        )
    if not records:
        yield Finding.warning("APEL: no record to look at; run check again when jobs have ended")
        return
    good = True
    for wanted in plugin.wanted:
        without = [record for record in records if not _has(record, wanted)]
        if without:
            good = False
            yield _missing(wanted, len(without), len(records), mapped.mapping)
    for text in _sites(records, plugin):
        good = False
        yield Finding.error(text)
    if good:
        yield Finding(True, f"APEL: all {len(records)} records have what the plugin reads")


def _has(record: Record, wanted: Wanted) -> bool:
    if wanted.kind == "meta":
        text = next(iter((record.meta or {}).get(wanted.name, [])), None)
        return text is not None and (not wanted.regex or bool(re.search(wanted.regex, text)))
    name = wanted.component or wanted.name
    found = next((one for one in record.components if one.name == name), None)
    if found is None or wanted.kind == "component":
        return found is not None
    return any(score.name == wanted.name for score in found.scores)


def _missing(wanted: Wanted, number: int, total: int, mapping: Mapping) -> Finding:
    many = f"APEL: {wanted.field}: {number} of {total} records"
    if wanted.kind == "component":
        why = _looked_at(mapping.section.components.get(wanted.name), wanted.name)
        return Finding.error(f"{many} have no component {wanted.name} ({why}); {_ABORTS}")
    if wanted.kind == "score":
        return Finding.error(
            f"{many} have no score {wanted.name} on {wanted.component}; {_ABORTS}. Set "
            f"mapping.scores: {{{wanted.name}: …}}, or a table with a default ({_PAGE})"
        )
    why = _looked_at(mapping.section.meta.get(wanted.name), wanted.name)
    if wanted.regex is not None:
        why += f", or {wanted.regex} is not found in it"
    text = f"{many} have no meta {wanted.name} ({why}); EGI would read None there ({_PAGE})"
    return Finding.error(text) if number == total else Finding.warning(text)


def _looked_at(rules: Any, name: str) -> str:
    """Why a value may be missing: what its rule looks at."""
    if rules is None:
        return f"the mapping has no rule {name}"
    fields = sorted(fields_of(rules))
    return f"its rule looks at {', '.join(fields)}" if fields else "its rule has no value"


def _sites(records: Iterable[Record], plugin: Plugin) -> Iterator[str]:
    found = set()
    without = 0
    for record in records:
        texts = [one for key in plugin.site_keys for one in (record.meta or {}).get(key, [])]
        found.update(texts)
        without += not texts
    keys = " or ".join(plugin.site_keys)
    if without:
        yield f"APEL: {without} records have no meta {keys}: no site reports them; set site_id"
    if plugin.sites and (others := sorted(found - set(plugin.sites))):
        yield f"APEL: {keys} {', '.join(others)}: not under sites_to_report; nobody reports them"
