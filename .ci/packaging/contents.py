"""Says what a package brings of others: a bill of materials (CycloneDX 1.5), and the licences.

python contents.py LIB VERSION SBOM COPYRIGHT
"""

import importlib.metadata
import json
import sys
from pathlib import Path


def licence(of: importlib.metadata.Distribution) -> str:
    """The licence that a distribution names."""
    meta = of.metadata
    named = [
        one.rpartition(" :: ")[2] for one in meta.get_all("Classifier", []) if "License ::" in one
    ]
    text = (
        meta.get("License-Expression") or ", ".join(named) or meta.get("License") or "see its files"
    )
    return text.split("\n")[0]


def write(lib: Path, version: str, sbom: Path, copyright_file: Path) -> None:
    """Writes both files, in the order of the names."""
    found = {one.metadata["Name"]: one for one in importlib.metadata.distributions(path=[str(lib)])}
    others = [found[name] for name in sorted(found, key=str.lower) if name != "auditor-collector"]
    components = [
        {
            "type": "library",
            "name": one.metadata["Name"],
            "version": one.version,
            "purl": f"pkg:pypi/{one.metadata['Name'].lower()}@{one.version}",
            "licenses": [{"license": {"name": licence(one)}}],
        }
        for one in others
    ]
    about = {"type": "application", "name": "auditor-collector", "version": version}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": about},
        "components": components,
    }
    sbom.write_text(json.dumps(document, indent=1) + "\n")
    lines = [
        "auditor-collector: MIT (its text follows) or Apache-2.0, as you like. Apache-2.0 is in",
        "/usr/share/common-licenses/Apache-2.0 (Debian, Ubuntu), or in /usr/share/licenses (RPM).",
        "It brings, below /usr/lib/auditor-collector, with their licence files beside each:",
        *(f"  {one.metadata['Name']} {one.version}: {licence(one)}" for one in others),
    ]
    text = (Path(__file__).parents[2] / "LICENSE-MIT").read_text()
    copyright_file.write_text("\n".join([*lines, "", text]))


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
