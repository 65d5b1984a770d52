"""Our client does the same with the embedded and with the real Auditor."""

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collector.auditor import (
    AuditorClientBlocking,
    AuditorClientBuilder,
    Component,
    ComponentQuery,
    Meta,
    MetaOperator,
    MetaQuery,
    Operator,
    QueryBuilder,
    Record,
    Score,
    SortBy,
    Value,
    protocol,
)
from collector.embedded.server import running
from tests.real_auditor.address import real_url

START = datetime(2021, 12, 6, 12, 0, 0, 79043, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(params=["embedded", pytest.param("real", marks=real_url)])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AuditorClientBlocking]:
    """Our client for each Auditor in turn."""
    if request.param == "real":
        with (
            AuditorClientBuilder()
            .connection_string(os.environ["AUDITOR_URL"])
            .build_blocking() as made
        ):
            yield made
        return
    with (
        running(tmp_path / "auditor.db") as url,
        AuditorClientBuilder().connection_string(url).build_blocking() as made,
    ):
        yield made


class World:
    """Records of one test, told apart by a token."""

    def __init__(self) -> None:
        self.token = uuid.uuid4().hex[:8]

    def record(self, number: int, site: str = "site1") -> Record:
        """A run that starts at its number in hours."""
        return (
            Record(f"{self.token}/{number:02d} ä#?", START + number * HOUR)
            .with_component(Component("CPU", number).with_score(Score("HEPSPEC06", 9.2)))
            .with_component(Component("Memory", 2**53 + 1))
            .with_meta(Meta().insert("run", [self.token]).insert("site [id]&=", [site, "ünï cødé"]))
        )

    def query(self, site: str | None = None) -> QueryBuilder:
        """Selects records of this test."""
        meta = MetaQuery().meta_operator("run", MetaOperator().contains(self.token))
        if site:
            meta.meta_operator("site [id]&=", MetaOperator().contains([site, "ünï cødé"]))
        return QueryBuilder().with_meta_query(meta)


def test_a_record_comes_back_as_it_was_stored(client: AuditorClientBlocking) -> None:
    """Its microseconds, its amounts of over 53 bits, its strange names."""
    world = World()
    client.add(world.record(1))
    assert client.health_check()
    assert client.get_single_record(world.record(1).record_id) == world.record(1)
    assert client.advanced_query(world.query("site1").build()) == [world.record(1)]
    assert client.advanced_query(world.query("site2").build()) == []


def test_stop_times_come_later(client: AuditorClientBlocking) -> None:
    """By update, or by adding the same record; never twice by adding."""
    world = World()
    client.bulk_insert([world.record(1), world.record(2)])
    first = world.record(1).with_stop_time(START + 3 * HOUR)
    second = world.record(2).with_stop_time(START + 9 * HOUR)
    client.update(first)
    client.add(second)
    assert client.advanced_query(world.query().build()) == [first, second]
    with pytest.raises(protocol.RecordExistsError):
        client.add(second.with_stop_time(START + 10 * HOUR))
    client.update(second)
    assert client.get_single_record(second.record_id).runtime == 8 * 3600
    with pytest.raises(protocol.UnknownRecordError):
        client.update(world.record(3).with_stop_time(START + 9 * HOUR))
    with pytest.raises(protocol.UnknownRecordError):
        client.get_single_record(world.record(3).record_id)


def test_a_bulk_insert_is_all_or_nothing(client: AuditorClientBlocking) -> None:
    """One record that is there keeps all others out."""
    world = World()
    client.add(world.record(5))
    with pytest.raises(protocol.RecordExistsError):
        client.bulk_insert([world.record(number) for number in range(4, 8)])
    assert client.advanced_query(world.query().build()) == [world.record(5)]
    with pytest.raises(protocol.TooLargeError):
        client.bulk_insert_encoded([world.record(9).encode()] * 9000)
    with pytest.raises(protocol.RefusedError):
        client.insert_encoded(b"{}")
    with pytest.raises(protocol.RefusedError):
        client.advanced_query("nonsense=1")


def test_queries_select_and_order(client: AuditorClientBlocking) -> None:
    """Every operator of the tutorial."""
    world = World()
    stored = [
        world.record(number, f"site{number % 2}").with_stop_time(START + (20 + number % 5) * HOUR)
        for number in range(10)
    ]
    client.bulk_insert(stored)
    noon = Value.set_datetime(START + 4 * HOUR)

    def numbers(query: QueryBuilder) -> list[int]:
        ordered = query.sort_by(SortBy().ascending("start_time")).build()
        return [record.components[0].amount for record in client.stream_query(ordered)]

    assert numbers(world.query()) == list(range(10))
    assert numbers(world.query().with_start_time(Operator().gt(noon))) == [5, 6, 7, 8, 9]
    assert numbers(
        world.query().with_start_time(Operator().gte(noon).lt(Value.set_datetime(START + 6 * HOUR)))
    ) == [4, 5]
    assert numbers(
        world.query().with_stop_time(Operator().lte(Value.set_datetime(START + 20 * HOUR)))
    ) == [0, 5]
    assert numbers(world.query().with_runtime(Operator().equals(Value.set_runtime(20 * 3600)))) == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert numbers(world.query("site1")) == [1, 3, 5, 7, 9]
    cpu = ComponentQuery().component_operator("CPU", Operator().gte(Value.set_count(8)))
    assert numbers(world.query().with_component_query(cpu)) == [8, 9]
    memory = ComponentQuery().component_operator("Memory", Operator().gte(Value.set_count(0)))
    assert numbers(world.query().with_component_query(memory)) == []
    assert numbers(world.query().limit(3)) == [0, 1, 2]
    assert numbers(world.query().with_record_id(stored[7].record_id)) == [7]
