"""Records that hypothesis makes, for the tests of all that carries them."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from collector.record import (
    AMOUNT_LIMIT,
    Component,
    Meta,
    Record,
    Score,
)

START = datetime(2021, 12, 6, 16, 29, 43, 79043, tzinfo=UTC)


names = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60
).filter(lambda text: not text.isspace())


amounts = st.integers(0, AMOUNT_LIMIT)


values = st.floats(0, allow_infinity=False, allow_nan=False)


zones = st.sampled_from(
    [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo"), timezone(timedelta(hours=-3.5))]
)


instants = st.datetimes(
    datetime.fromisoformat("1971-01-02"), datetime.fromisoformat("9990-01-01"), timezones=zones
)


scores = st.builds(Score, names, values)


components = st.builds(Component, names, amounts, st.lists(scores, max_size=2))


metas = st.none() | st.dictionaries(names, st.lists(names, max_size=3), max_size=3).map(Meta)


records = st.builds(Record, names, instants, st.none(), metas, st.lists(components, max_size=3))
