"""Typical mistakes of administrators: each is reported in one round, with line, key and advice."""

from pathlib import Path

import pytest

from collector.config import ConfigError, load, parse
from collector.source import find_plugin

HEAD = "sources:\n  - name: ap1\n    plugin: htcondor\n    record_prefix: htcondor-ap1\n"
TAIL = "auditor:\n  url: http://127.0.0.1:8000\n"
SLURM = "sources:\n  - name: lab\n    plugin: slurm\n    record_prefix: slurm-lab\n"


def mistakes_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, find_plugin)
    return [str(mistake) for mistake in caught.value.mistakes]


def of_source(keys: str, head: str = HEAD) -> str:
    return f"{head}    {keys}\n{TAIL}"


def rules(text: str) -> str:
    return of_source(f"mapping: {{{text}}}")


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("sources:\n  - name: a\n\tplugin: slurm\n", "line 3: ", ["a tab", "blanks"]),
        (
            "sources:\n  - name: a\n    plugin: slurm\n    record_prefx: a\n",
            "line 4: sources[0].record_prefx: ",
            ['did you mean "record_prefix"?'],
        ),
        (
            "sources:\n  - name: a\n    plugin: condor\n    record_prefix: a\n    history: /h\n",
            "line 3: sources[0].plugin: ",
            ["'condor'", "installed are: htcondor, slurm", 'did you mean "htcondor"?'],
        ),
        (f"{HEAD}auditor:\n  url: host:8000\n", "line 6: auditor.url: ", ["http://127.0.0.1:8000"]),
        (f"{HEAD}auditor: {{url: 'http://h:port'}}", "line 5: auditor.url: ", ["https://host:"]),
        (f"{HEAD}{TAIL}sender: {{interval_s: 10s}}", "line 7: sender.interval_s: ", ["write 10,"]),
        (f"{HEAD}{TAIL}sender: {{interval_s: '10'}}", "line 7: sender.interval_s: ", ["write 10"]),
        (of_source("interval_s: -5"), "line 5: sources[0].interval_s: ", ["> 0"]),
        (of_source("interval_s: 1_000"), "line 5: sources[0].interval_s: ", ["write 1000"]),
        (
            HEAD + "  - name: ap1\n    plugin: slurm\n    record_prefix: x\n",
            "line 5: sources[1].name: ",
            ["sources[0] has the same"],
        ),
        (
            "sources:\n  name: a\n  plugin: slurm\n  record_prefix: a\n",
            "line 2: sources: ",
            ["expected a list", "dash"],
        ),
        (of_source("since: 2026-01-01 00:00:00"), "line 5: sources[0].since: ", ["time zone"]),
        (of_source("since: yesterday"), "line 5: sources[0].since: ", ["2026-01-31"]),
        (of_source("since: 0001-01-01T00:00:00+14:00"), "line 5: sources[0].since: ", ["range"]),
        (f"{HEAD}auditor:\n  url: 'http://a:8000\n", "line 6: ", ["quote", "never closed"]),
        (
            rules("components: {C: {field: A, type: int}}"),
            "line 5: sources[0].mapping.components.C.type: ",
            ['did you mean "integer"?'],
        ),
        (
            rules("meta: {a: {field: A, value: B}}"),
            "line 5: sources[0].mapping.meta.a.value: ",
            ["exactly one of value, field and expr, not value and field"],
        ),
        (
            rules(r"meta: {a: {field: A, matches: '^(\w+'}}"),
            "line 5: sources[0].mapping.meta.a.matches: ",
            ["regular expression", "unterminated"],
        ),
        (
            rules("components: {C: {expr: 'A ** 2'}}"),
            "line 5: sources[0].mapping.components.C.expr: ",
            ["not allowed"],
        ),
        (
            rules("meta: {site: MY-SITE}"),
            "line 5: sources[0].mapping.meta.site: ",
            ["did you mean {value: MY-SITE}?"],
        ),
        (
            rules("meta: {site: [{field: A, optional: true}, my site]}"),
            "line 5: sources[0].mapping.meta.site[1]: ",
            ["did you mean {value: 'my site'}?"],
        ),
        (
            rules("components: {C: 8}"),
            "line 5: sources[0].mapping.components.C: ",
            ["write {value: 8}"],
        ),
        (
            rules("components: {C: {field: A, scores: {S: {value: '12,5'}}}}"),
            "line 5: sources[0].mapping.components.C: ",
            ["score S", "expected a number"],
        ),
        (
            of_source("partitions: [a]"),
            "line 5: sources[0].partitions: ",
            ["unknown key", "known here are"],
        ),
        (
            f"{HEAD}auditor:\n  url: http://h:8000\n  tls: {{ca: /x}}\n",
            "line 7: auditor.tls: ",
            ["https", "http://h:8000"],
        ),
        (
            f"{HEAD}auditor:\n  url: https://h:8000\n  tls: {{certificate: /x}}\n",
            "line 7: auditor.tls.certificate: ",
            ["go together"],
        ),
        (f"{HEAD}{TAIL}metrics: {{listen: 9817}}\n", "line 7: metrics.listen: ", ["HOST:PORT"]),
        (f"{HEAD}{TAIL}auditor: {{}}\n", "line 7: auditor: ", ["given before, in line 5"]),
        (of_source("track_running: yes"), "line 5: sources[0].track_running: ", ["write true"]),
        (of_source("track_running: off"), "line 5: sources[0].track_running: ", ["write false"]),
        (of_source("track_running: 'true'"), "line 5: sources[0].track_running: ", ["quotes"]),
        (
            rules("meta: {site: {value: NO}}"),
            "line 5: sources[0].mapping.meta.site.value: ",
            ["write 'NO'"],
        ),
        (
            "sources:\n  - name: ap1\n    plugin: slurm\n    record_prefix: 2024\n",
            "line 4: sources[0].record_prefix: ",
            ["write '2024'"],
        ),
        (f"{HEAD}auditors: {{url: x}}\n", "line 5: auditors: ", ['did you mean "auditor"?']),
        (
            SLURM + "    clusters: [a]\n" + SLURM.split("\n", 1)[1].replace("lab\n", "b\n", 1)
            + "    clusters: [b]\n",
            "line 8: sources[1].record_prefix: ",
            ["sources[0] has the same", "another"],
        ),
        (of_source("mode: jobcomp", SLURM), "line 5: sources[0].jobcomp_path: ", ["needed"]),
    ],
)  # fmt: skip
def test_a_typical_mistake_is_one_message(text: str, place: str, words: list[str]):
    """At its line and under its key, with what to write instead, and nothing else."""
    found = mistakes_of(text)
    assert len(found) == 1, found
    assert found[0].startswith(place), found
    assert all(word in found[0] for word in words), found


def test_scores_beside_components_are_explained():
    """They look like a component of the name `scores`, with unknown keys."""
    found = mistakes_of(rules("components: {Cores: Cpus, scores: {HS23: {value: 12}}}"))
    assert any("components.scores: scores are given under their component" in one for one in found)


@pytest.mark.parametrize(
    ("head", "keys"),
    [
        ("mode: history", ["window_s: 5", "overlap_s: 7", "per_job_history: /x", "pool: p"]),
        ("mode: per_job", ["history: /x", "rescan_s: 5", "condor_history: /y"]),
        ("mode: epochs", ["run: last", "remove: true", "constraint: x"]),
        ("mode: condor_history", ["epoch_history: /x", "per_job_history: /x"]),
        ("mode: sacct", ["time_zone: Europe/Berlin", "jobcomp_path: /x"]),
        ("mode: jobcomp\n    jobcomp_path: /x", ["complete_s: 5", "window_s: 5", "settle_s: 5"]),
    ],
)
def test_a_key_of_another_mode_is_a_mistake(head: str, keys: list[str]):
    """Each by its own line, with the modes that it goes with: it would be ignored silently."""
    start = SLURM if "sacct" in head or "jobcomp" in head else HEAD
    found = mistakes_of(f"{start}    {head}\n" + "".join(f"    {key}\n" for key in keys))
    first = 5 + len(head.splitlines())
    assert len(found) == len(keys), found
    for number, (key, message) in enumerate(zip(keys, found, strict=True)):
        name = key.split(":", maxsplit=1)[0]
        assert message.startswith(f"line {first + number}: sources[0].{name}: goes with "), message
        assert f"this has {head.splitlines()[0]}" in message


def test_mistakes_of_all_kinds_are_reported_in_one_round():
    """Unknown key, wrong type, conflict within a section, conflict between sections, bad rule."""
    text = """\
sources:
  - name: a
    plugin: slurm
    record_prefix: a
    mode: jobcomp
    window_s: 5
    intervall_s: 5
    mapping: {meta: {site: MY-SITE}, components: {C: {value: x}}}
  - name: a
    plugin: htcondor
    record_prefix: b
    since: soon
auditor:
  url: http://a:1
  timeout_s: fast
  tls: {certificate: /c}
"""
    places = [
        "line 5: sources[0].jobcomp_path",
        "line 6: sources[0].window_s",
        "line 7: sources[0].intervall_s",
        "line 8: sources[0].mapping.components.C",
        "line 8: sources[0].mapping.meta.site",
        "line 9: sources[1].name",
        "line 12: sources[1].since",
        "line 15: auditor.timeout_s",
        "line 16: auditor.tls.certificate",
    ]
    assert [one.rsplit(": ", one.count(": ") - 1)[0][: len(place)] for one, place in zip(
        mistakes_of(text), places, strict=True)] == places  # fmt: skip


def test_sources_that_share_a_prefix_without_a_collision_are_right():
    """Two schedds (a GlobalJobId names its schedd), and two parts of one Slurm cluster."""
    schedds = HEAD + HEAD.split("\n", 1)[1].replace("name: ap1", "name: ap2")
    assert len(parse(schedds, find_plugin).sources) == 2
    parts = (
        SLURM + "    partitions: [a]\n" + SLURM.split("\n", 1)[1].replace("name: lab", "name: b")
    )
    assert len(parse(parts + "    partitions: [b]\n", find_plugin).sources) == 2


def test_a_plugin_that_cannot_be_loaded_is_a_mistake():
    """A third party's distribution may be broken; the others are checked on."""

    def broken(name: str) -> type:
        if name == "htcondor":
            raise ImportError("no module named x")
        return find_plugin(name)

    with pytest.raises(ConfigError, match=r"sources\[0\].plugin: htcondor cannot be loaded"):
        parse(HEAD, broken)


def test_a_plugin_may_check_its_keys_by_itself():
    """A ValueError of `__post_init__`, as plugins of before have it, is reported at the section."""
    from collector.config import SourceSection

    class Old(SourceSection, kw_only=True):
        log: str = ""

        def __post_init__(self) -> None:
            if not self.log.startswith("/"):
                raise ValueError("log: expected an absolute path")

    class Plugin:
        Section, mapping = Old, ""

    with pytest.raises(ConfigError, match=r"line 2: sources\[0\]: log: expected an absolute"):
        parse(HEAD, lambda _: Plugin)
    with pytest.raises(ConfigError, match=r"line 5: sources\[0\].since"):
        parse(of_source("since: x"), lambda _: Plugin)


def test_a_file_in_another_encoding_is_named_with_its_line(tmp_path: Path):
    """Latin-1 is what old editors write."""
    path = tmp_path / "config.yaml"
    path.write_bytes("sources:\n  - name: apü\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"line 2: byte 0xfc is not UTF-8 .'ü' in Latin-1"):
        load(path, find_plugin)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\0b", "character '\\x00'"),
        ("[" * 5000, "nest hundreds deep"),
        ("sources: []\n---\nsources: []\n", "second document"),
        ("sources: &a [*a]\n", "sources[0]"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(
                f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n"
                for old, new in zip("abcdefgh", "bcdefghi", strict=True)
            )
            + "sources: *i\n",
            "sources",
        ),
        (
            f"{HEAD}    mapping: {{meta: {{a: &r [{','.join('x' * 400)}], "
            + ", ".join(f"m{number}: *r" for number in range(300))
            + "}}\n",
            "more than 100,000 values",
        ),
    ],
)
def test_text_that_would_cost_without_end_is_refused(text: str, words: str):
    """Deep brackets, aliases of aliases: one clear message, within a second or two."""
    found = mistakes_of(text)
    assert any(words in one for one in found), found[:3]
    assert len(found) < 100


def test_a_file_without_end_is_refused():
    """A device, or a log that was named by mistake."""
    with pytest.raises(ConfigError, match="larger than 1,000,000 bytes"):
        load(Path("/dev/zero"), find_plugin)
