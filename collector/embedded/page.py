"""The page at `/`: what the embedded Auditor holds, over time and by site, group and user.

One statement reads the period's records, grouped; the page is text without scripts, works without
a network, and shows what it was asked for in its address, so that it can be linked to.

A record counts on the day (UTC) on which it stopped, with the amount of its first component times
its run time, for example core-hours.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from html import escape

import msgspec

from collector.embedded import charts
from collector.embedded.intake import FIRST_US, LAST_US
from collector.embedded.store import OPEN, Store

_DAY_US = 86_400_000_000
_DEFAULT_DAYS = 31
_COLUMNS_LIMIT = 93
_RANKS = 12
_GROUPINGS = (
    ("site", ("site_id", "site")),
    ("group", ("group_id", "group")),
    ("user", ("user_id", "user")),
)
_UNKNOWN = "(none)"
_OTHERS = "others"


class Period(msgspec.Struct, frozen=True):
    """Days, both included."""

    first: date
    last: date


class Row(msgspec.Struct):
    """What was found of one day, site, group, user and component."""

    day: date
    names: dict[str, str]
    component: str
    records: int
    hours: float


def render(store: Store, asked: Mapping[str, str]) -> str:
    """The page as HTML.

    Args:
        store: what is shown.
        asked: of the address: `since` and `until` as dates, `measure` (`hours` or `records`).

    Raises:
        ValueError: for a date that is none; the message is fit for users.
    """
    (total, still_open, earliest, latest), *_ = store.rows(
        # The newest stop is looked up by the index; OPEN is not an instant.
        "SELECT (SELECT count(*) FROM record), "
        "(SELECT count(*) FROM record WHERE stop_us = ?1), (SELECT min(stop_us) FROM record), "
        "(SELECT max(stop_us) FROM record WHERE stop_us < ?1)",
        [OPEN],
    )
    period = _period(asked, latest)
    rows = _rows(store, period)
    component = _most_frequent(rows)
    by_hours = asked.get("measure") != "records"
    unit = f"{_singular(component)}-hours" if by_hours else "records"

    def value(row: Row) -> float:
        if not by_hours:
            return row.records
        return row.hours if row.component == component else 0.0

    if rows:
        rankings = "".join(
            _section(f"{unit} by {name}", _ranked(rows, name, value, unit))
            for name, _ in _GROUPINGS
        )
        sections = (
            _section(f"{unit} by day and site", _over_time(rows, period, value, unit))
            + f'<div class="rankings">{rankings}</div>'
        )
    else:
        sections = _nothing(earliest, latest, still_open)
    found = sum(row.records for row in rows)
    figures = (
        (f"{total:,}", "records stored"),
        (f"{found:,}", "in this period"),
        (f"{sum(map(value, rows)):,.0f}", unit) if by_hours else None,
        (f"{still_open:,}", "without a stop time"),
    )
    return _PAGE.format(
        style=_STYLE,
        figures="".join(
            f"<div><b>{number}</b><span>{escape(text)}</span></div>"
            for number, text in filter(None, figures)
        ),
        since=period.first.isoformat(),
        until=period.last.isoformat(),
        hours="selected" if by_hours else "",
        records="" if by_hours else "selected",
        sections=sections,
    )


def _period(asked: Mapping[str, str], latest_us: int | None) -> Period:
    last = _asked_date(asked, "until") or _date(latest_us or 0)
    before = max(date.min.toordinal(), last.toordinal() - _DEFAULT_DAYS + 1)
    first = _asked_date(asked, "since") or date.fromordinal(before)
    if first > last:
        raise ValueError(f"since {first} is after until {last}")
    return Period(first, last)


def _asked_date(asked: Mapping[str, str], name: str) -> date | None:
    text = asked.get(name)
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name}={text}: expected a date such as 2026-01-31") from None


def _rows(store: Store, period: Period) -> list[Row]:
    names = ", ".join(
        "coalesce("
        + ", ".join(f"json_extract(meta, '$.{key}[0]')" for key in keys)
        + f", '{_UNKNOWN}')"
        for _, keys in _GROUPINGS
    )
    found = store.rows(
        f"SELECT stop_us / {_DAY_US} AS day, {names}, coalesce(component, ''), count(*), "  # noqa: S608 - fixed texts
        "total(amount * 1.0 * runtime_s) / 3600 FROM record WHERE stop_us >= ? AND stop_us < ? "
        "GROUP BY 1, 2, 3, 4, 5",
        [_us(period.first), min(OPEN, _us(period.last) + _DAY_US)],
    )
    return [
        Row(
            _date(day * _DAY_US),
            {name: text for (name, _), text in zip(_GROUPINGS, texts, strict=True)},
            component,
            records,
            hours,
        )
        for day, *texts, component, records, hours in found
    ]


def _most_frequent(rows: list[Row]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row.component] += row.records
    return max(counts, key=counts.__getitem__, default="") or "component"


def _singular(component: str) -> str:
    return {"Cores": "core", "CPU": "CPU", "CPUs": "CPU"}.get(component, component)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _over_time(rows: list[Row], period: Period, value: Callable[[Row], float], unit: str) -> str:
    """Columns of a day each, or of several where the period has too many of them."""
    days = (period.last - period.first).days + 1
    width = -(-days // _COLUMNS_LIMIT)
    labels = [
        (period.first + timedelta(days=day)).isoformat()[0 if width > 1 else 5 :]
        for day in range(0, days, width)
    ]
    ranked = _totals(rows, "site", value)
    shown = [name for name, _ in ranked[: charts.COLOURS - 1]]
    columns: dict[str, list[float]] = {name: [0.0] * len(labels) for name in shown}
    if len(ranked) > len(shown):
        columns[_OTHERS] = [0.0] * len(labels)
    for row in rows:
        name = row.names["site"] if row.names["site"] in shown else _OTHERS
        columns[name][(row.day - period.first).days // width] += value(row)
    series = [
        charts.Series(name, values, index) for index, (name, values) in enumerate(columns.items())
    ]
    note = f'<p class="note">Each column is {width} days.</p>' if width > 1 else ""
    return charts.legend(series) + charts.stacked(labels, series, unit) + note


def _ranked(rows: list[Row], grouping: str, value: Callable[[Row], float], unit: str) -> str:
    records: dict[str, int] = defaultdict(int)
    for row in rows:
        records[row.names[grouping]] += row.records
    ranked = _totals(rows, grouping, value)
    whole = sum(total for _, total in ranked) or 1
    bars = [
        charts.Bar(name, total, f"{100 * total / whole:.0f} % · {records[name]:,} records")
        for name, total in ranked[:_RANKS]
    ]
    rest = ranked[_RANKS:]
    more = f'<p class="note">and {len(rest):,} more</p>' if rest else ""
    return charts.ranking(bars, unit) + more


def _totals(
    rows: list[Row], grouping: str, value: Callable[[Row], float]
) -> list[tuple[str, float]]:
    totals: dict[str, float] = defaultdict(float)
    for row in rows:
        totals[row.names[grouping]] += value(row)
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))


def _nothing(earliest_us: int | None, latest_us: int | None, still_open: int) -> str:
    if latest_us is not None and earliest_us is not None:
        first, last = _date(earliest_us), _date(latest_us)
        text = (
            f'No record stopped in this period. <a href="/?since={first}&amp;until={last}">'
            f"All of them: {first} to {last}</a>"
        )
    elif still_open:
        text = "All records still wait for their stop time."
    else:
        text = "No records yet. They are shown here as soon as a collector sends some."
    return f'<section class="empty"><p>{text}</p></section>'


def _us(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


def _date(instant_us: int) -> date:
    within_us = max(FIRST_US, min(instant_us, LAST_US))
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=within_us)).date()


_STYLE = """
:root{--bg:#fbfbfa;--card:#fff;--ink:#1d2329;--soft:#68737d;--line:#e6e8ea;
--c0:#2f6db3;--c1:#e08a2c;--c2:#3d9a6d;--c3:#b6498f;--c4:#67b7d1;--c5:#c9b22d;--c6:#8a6fd1;--c7:#9aa3ab}
@media(prefers-color-scheme:dark){:root{--bg:#15191d;--card:#1d2227;--ink:#e8ebee;--soft:#96a1ab;
--line:#30373e;--c0:#5b9be0;--c1:#eda04a;--c2:#5bbf8e;--c3:#d873b3;--c4:#86d0e8;--c5:#dccb5a;
--c6:#a892e6;--c7:#78828b}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.45 system-ui,sans-serif}main{max-width:1080px;margin:0 auto;padding:24px 20px 48px}
header{display:flex;flex-wrap:wrap;gap:16px;align-items:center;justify-content:space-between}
h1{font-size:22px;margin:0}h2{font-size:15px;margin:0 0 12px}
form{display:flex;flex-wrap:wrap;gap:10px;align-items:end}
label{font-size:12px;color:var(--soft);display:flex;flex-direction:column;gap:3px}
input,select,button{font:inherit;color:inherit;background:var(--card);
border:1px solid var(--line);border-radius:8px;padding:6px 10px}
button{background:var(--c0);border-color:var(--c0);color:#fff;cursor:pointer}
.figures{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0}
.figures div{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:12px 18px;flex:1 1 160px}.figures b{display:block;font-size:24px}
.figures span,.note,.empty{color:var(--soft)}.note{font-size:13px;margin:8px 0 0}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px;
margin-bottom:16px}.rankings{display:grid;gap:16px;
grid-template-columns:repeat(auto-fit,minmax(300px,1fr));align-items:start}
svg{width:100%;height:auto;display:block}svg text{fill:var(--ink);font-size:13px}
svg .tick{fill:var(--soft);font-size:12px}.grid{stroke:var(--line)}.track{fill:var(--line)}
svg rect:hover{opacity:.8}a{color:var(--c0)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 16px;padding:0;margin:0 0 10px;
font-size:13px}.legend i{display:inline-block;width:10px;height:10px;border-radius:3px;
margin-right:6px}
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Auditor: what is stored</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><style>{style}</style></head>
<body><main><header><h1>What is stored</h1>
<form><label>from <input type="date" name="since" value="{since}"></label>
<label>to <input type="date" name="until" value="{until}"></label>
<label>measure <select name="measure"><option value="hours" {hours}>resource-hours</option>
<option value="records" {records}>records</option></select></label>
<button>Show</button></form></header>
<div class="figures">{figures}</div>{sections}
<p class="note">A record counts on the day (UTC) on which it stopped.
Resource-hours: the amount of its first component times its run time.</p></main></body></html>
"""
