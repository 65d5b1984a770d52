"""Answers as `condor_history` and `condor_q` do; run by the scripts of `standin.py`.

It prints as they do with `-long`: attributes by name, the last of a name that stands twice, an
empty line behind each ad; and with `-af:,`, which the public collector uses. What else it does was
read in HTCondor's source: a remote schedd looks through its newest ads only, as
many as HISTORY_HELPER_MAX_HISTORY says, or `-scanlimit` where it is new enough to be told; the exit
status is 0 then. `state.json` in its folder says how each schedd is today.
"""

import itertools
import json
import re
import sys
import time
from pathlib import Path

FOLDER = Path(sys.argv[1])
OPTIONS = dict(zip(sys.argv[3::1], sys.argv[4::1], strict=False))
NAME = OPTIONS.get("-name", "here")
STATE = json.loads((FOLDER / "state.json").read_text()).get(NAME, {})


def ads(text: bytes) -> list[list[bytes]]:
    found: list[list[bytes]] = [[]]
    for line in text.split(b"\n"):
        if line.startswith(b"*** ") or not line:
            found.append([])
        else:
            found[-1].append(line)
    return [printed(lines) for lines in found if lines]


def printed(lines: list[bytes]) -> list[bytes]:
    by_name = {line.partition(b" = ")[0].lower(): line for line in lines}
    return [by_name[name] for name in sorted(by_name)]


def history() -> list[list[bytes]]:
    """Newest first."""
    folder = FOLDER / NAME
    paths = [*sorted(folder.glob("history.2*")), folder / "history"]
    if "-file" in OPTIONS:
        paths = [Path(OPTIONS["-file"])]
    newest_first = ads(b"\n".join(path.read_bytes() for path in paths if path.exists()))[::-1]
    limit = STATE.get("scans")
    if limit is None or (STATE.get("can_be_told") and "-scanlimit" in OPTIONS):
        limit = int(OPTIONS.get("-scanlimit", len(newest_first)))
    since = OPTIONS.get("-since", "")
    for number, lines in enumerate(newest_first):
        if since == "{ClusterId}.{ProcId}".format_map(Attributes(lines)):
            newest_first = newest_first[:number]
            break
    return newest_first[:limit]


class Attributes(dict[str, object]):
    def __init__(self, lines: list[bytes]) -> None:
        pairs = [line.decode(errors="replace").split(" = ", 1) for line in lines]
        super().__init__({name.lower(): text for name, text in pairs})

    def __getitem__(self, name: str) -> object:
        text = str(self.get(name.lower(), -1))
        return json.loads(text) if re.fullmatch(r'-?\d+|"[^"\\]*"', text) else -1


def values(ad: Attributes) -> bytes:
    """Of the attributes that stand behind `-af:,`, up to the next option."""
    names = iter(sys.argv[sys.argv.index("-af:,") + 1 :])
    wanted = itertools.takewhile(lambda name: not name.startswith("-"), names)
    found = (str(ad.get(name.lower(), "undefined")).strip('"') for name in wanted)
    return ", ".join(found).encode() + b"\n"


def main() -> int:
    with (FOLDER / "called").open("a") as called:
        called.write(json.dumps(sys.argv[2:]) + "\n")
    mood = STATE.get("mood")
    if mood == "hangs":
        time.sleep(60)
    if mood == "unreachable":
        sys.stderr.write(f"Unable to locate remote schedd (name={NAME}, pool=).\n")
        return 1
    assert "-long" in sys.argv or "-af:," in sys.argv
    condition = OPTIONS.get("-constraint", "True")
    if number := re.fullmatch(r"(\d+)\.(\d+)", sys.argv[-1]):
        condition = f"ClusterId == {number[1]} && ProcId == {number[2]}"
    condition = condition.replace("&&", "and").replace("||", "or").replace("true", "True")
    code = compile(condition, "constraint", "eval")
    path = FOLDER / NAME / "queue"
    queue = ads(path.read_bytes()) if path.exists() else []
    limit = int(OPTIONS.get("-limit", 10**9))
    out = sys.stdout.buffer
    for lines in history() if sys.argv[2] == "condor_history" else queue:
        if limit and eval(code, {}, Attributes(lines)):
            limit -= 1
            text = b"\n".join(lines) + b"\n\n"
            if "-af:," in sys.argv:
                text = values(Attributes(lines))
            if mood == "torn":
                out.write(text[:-100])
                return 0
            out.write(text)
            if mood == "breaks off":
                out.flush()
                sys.stderr.write("Failed to receive remote ad.\n")
                return 1
    if mood == "malformed":
        sys.stderr.write("Remote side had parse errors on history file")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
