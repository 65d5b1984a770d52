"""The JSON schema says what the reader says, and the file in docs/ is the present one."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from collector.config import ConfigError, parse
from collector.config.schema import schema_of
from collector.source import find_plugin

ROOT = Path(__file__).parents[2]
PLUGINS = {name: find_plugin(name).Section for name in ("htcondor", "slurm")}
SCHEMA = schema_of(PLUGINS)
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def test_the_file_in_the_docs_is_the_present_one():
    """`auditor-collector schema > docs/config.schema.json` makes it."""
    assert json.loads((ROOT / "docs/config.schema.json").read_text()) == SCHEMA


def test_the_example_names_it_and_is_right_by_it():
    """The first line is what editors look for."""
    text = (ROOT / "config.example.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=docs/config.schema.json\n")
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    VALIDATOR.validate(yaml.safe_load(text))


def test_every_key_is_explained():
    """Editors show the texts that the code has for its keys."""
    for name, definition in SCHEMA["definitions"].items():
        if name != "SourceSection":
            for key, schema in definition["properties"].items():
                assert key == "plugin" or schema.get("description"), f"{name}: {key}"


HTCONDOR = {"name": "a", "plugin": "htcondor", "record_prefix": "a"}
SLURM = {"name": "a", "plugin": "slurm", "record_prefix": "a"}


@pytest.mark.parametrize(
    "document",
    [
        {"sources": [HTCONDOR]},
        {"sources": [{**HTCONDOR, "mode": "epochs", "epoch_history": "/x"}]},
        {"sources": [{**HTCONDOR, "mode": "epochs", "history": "/x"}]},
        {"sources": [{**HTCONDOR, "window_s": 5}]},
        {"sources": [{**HTCONDOR, "mode": "condor_history", "window_s": 5}]},
        {"sources": [{**HTCONDOR, "mode": "histori"}]},
        {"sources": [{**HTCONDOR, "partitions": []}]},
        {"sources": [{**HTCONDOR, "plugin": "condor"}]},
        {"sources": [{**HTCONDOR, "interval_s": 0}]},
        {"sources": [{**HTCONDOR, "since": "2026-01-01"}]},
        {"sources": [{**HTCONDOR, "since": 2026}]},
        {"sources": [{**HTCONDOR, "only_if": [{"field": "a"}]}]},
        {"sources": [{**HTCONDOR, "mapping": {"meta": {"site": {"value": "x"}, "y": None}}}]},
        {"sources": [{**HTCONDOR, "mapping": {"meta": {"site": 5}}}]},
        {"sources": [{**HTCONDOR, "mapping": {"components": {"C": {"field": "a", "typ": "b"}}}}]},
        {"sources": [{**SLURM, "time_zone": "Europe/Berlin"}]},
        {"sources": [{**SLURM, "mode": "sacct", "window_s": 5, "partitions": ["a"]}]},
        {"sources": [{**SLURM, "mode": "jobcomp", "jobcomp_path": "/x", "window_s": 5}]},
        {"sources": [{**SLURM, "mode": "jobcomp", "jobcomp_path": "/x"}]},
        {"sources": [{**SLURM, "partitions": ["a b,c"]}]},
        {"sources": []},
        {"source": [HTCONDOR]},
        {"sources": [HTCONDOR], "log": {"level": "loud"}},
        {"sources": [HTCONDOR], "log": {"level": "debug"}, "metrics": {"listen": None}},
        {"sources": [HTCONDOR], "auditor": {"timeout_s": "10"}},
        {"sources": [HTCONDOR], "auditor": {"tls": {"ca": "/x"}, "url": "https://a:1"}},
        {"sources": [HTCONDOR], "sender": {"batch_records": 1.5}},
    ],
    ids=json.dumps,
)
def test_an_editor_says_what_check_says(document: dict[str, Any]):
    """Right for both, or wrong for both; an empty list of sources is for `check` alone."""
    try:
        parse(json.dumps(document), find_plugin)
    except ConfigError:
        is_right = document == {"sources": []}
    else:
        is_right = True
    assert VALIDATOR.is_valid(document) == is_right, [*VALIDATOR.iter_errors(document)]
