"""What the pages show is run: every Python block, in its order, as one program."""

import ast
import asyncio
import inspect
import re
from pathlib import Path
from types import CodeType

import pytest

from collector.embedded.server import running

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["client.md", "timestamps.md", "embedded-auditor.md"])
def test_every_snippet_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snippets talk to an embedded Auditor, and their own assertions hold."""
    page = (DOCS / name).read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert snippets
    monkeypatch.chdir(tmp_path)
    with running(tmp_path / "docs.db") as url, asyncio.Runner() as runner:
        names: dict[str, object] = {}
        for number, snippet in enumerate(snippets, 1):
            code = compile(
                snippet.replace("8000", url.rpartition(":")[2]),
                f"{name}, snippet {number}",
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            )
            runner.run(_run(code, names))


async def _run(code: CodeType, names: dict[str, object]) -> None:
    result = eval(code, names)
    if inspect.iscoroutine(result):
        await result
