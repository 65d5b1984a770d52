"""The page at `/` shows what is stored, to people and to a browser, and nothing else."""

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from collector.auditor import AuditorClientBuilder, Component, Meta, Record

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOSTILE = "<script>document.title='taken'</script>&\"'{unit}"


def fill(url: str) -> None:
    """Stores runs of ten days, at sites of which one has a hostile name."""
    with AuditorClientBuilder().connection_string(url).build_blocking() as client:
        client.bulk_insert(
            Record(f"r{number}", START + timedelta(days=number % 10))
            .with_component(Component("Cores", 8))
            .with_meta(
                Meta()
                .insert("site_id", ["site1" if number % 2 else HOSTILE])
                .insert("group", ["atlas"])
                .insert("user_id", [f"user{number}"])
            )
            .with_stop_time(START + timedelta(days=number % 10, hours=2))
            for number in range(40)
        )
        client.add(Record("open", START))


def figures(page: str) -> dict[str, str]:
    """The large numbers at the top: what they count, and the number."""
    return {
        name: number for number, name in re.findall(r"<div><b>(.*?)</b><span>(.*?)</span>", page)
    }


def test_an_empty_auditor_has_a_page(url: str) -> None:
    """It says that nothing is there yet."""
    answer = httpx.get(f"{url}/")
    assert answer.status_code == 200
    assert "No records yet" in answer.text


def test_the_page_adds_up(url: str) -> None:
    """Core-hours are cores times hours; a column, a site, a group and users stand for them."""
    fill(url)
    page = httpx.get(f"{url}/").text
    assert figures(page) == {
        "records stored": "41",
        "in this period": "40",
        "core-hours": "640",
        "without a stop time": "1",
    }
    assert "<title>02-09 · site1: 64 core-hours</title>" in page
    assert "<title>atlas: 640.0 core-hours, 100 % · 40 records</title>" in page
    assert "and 28 more" in page


def test_a_period_and_a_measure_are_chosen_by_the_address(url: str) -> None:
    """Both days are included; what is no date is told."""
    fill(url)
    asked = {"since": "2026-02-01", "until": "2026-02-02", "measure": "records"}
    page = httpx.get(f"{url}/", params=asked).text
    assert figures(page)["in this period"] == "8"
    assert "core-hours" not in page
    assert "No record stopped in this period" in httpx.get(f"{url}/?until=2020-01-01").text
    year = httpx.get(f"{url}/?since=2025-06-01&until=2026-06-01").text
    assert "Each column is 4 days" in year
    for wrong in ("since=yesterday", "since=2026-02-02&until=2026-02-01"):
        answer = httpx.get(f"{url}/?{wrong}")
        assert answer.status_code == 400
        assert "since" in answer.text


def test_names_cannot_become_markup(url: str) -> None:
    """Sites and users are named by others."""
    fill(url)
    answer = httpx.get(f"{url}/")
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.slow
def test_a_browser_shows_the_plots(url: str, tmp_path: Path) -> None:
    """Headless Chromium renders the page without a network and draws the bars."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; the page was not looked at by a browser")
    fill(url)
    picture = tmp_path / "page.png"
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}")
    address = f"{url}/?since=2026-01-25&until=2026-02-15"
    rendered = subprocess.run(
        [chromium, *options, "--dump-dom", address],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    assert "<title>Auditor: what is stored</title>" in rendered
    assert len(re.findall(r"<rect [^>]*fill=\"var\(--c[01]\)\"", rendered)) > 20
    subprocess.run(
        [chromium, *options, "--window-size=1120,1000", f"--screenshot={picture}", address],
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
