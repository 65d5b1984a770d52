"""What `auditor-collector init` writes for a Slurm cluster.

slurmdbd is asked by sacct where it is used; else the text log of `jobcomp/filetxt` is read.
"""

import re

from collector.source.proposal import Key, Proposal, ask, quoted

_PLACE = Key("jobcomp_path", "/var/log/slurm/jobcomp.log", "JobCompLoc in slurm.conf", fill_in=True)


def propose() -> Proposal:
    """The section for this machine."""
    shown, no_config = ask(["scontrol", "show", "config"])
    settings = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", shown or "", re.MULTILINE))
    clusters, no_clusters = _clusters()
    version, no_sacct = ask(["sacct", "--version"])
    said = [
        f"{tool} gave no answer: {why}"
        for tool, why in (("scontrol", no_config), ("sacctmgr", no_clusters), ("sacct", no_sacct))
        if why
    ]
    found = shown is not None or clusters is not None or version is not None
    cluster = settings.get("ClusterName") or (clusters[0] if clusters else "")
    keys = _mode(settings, asks_slurmdbd=clusters is not None and version is not None)
    also = []
    if clusters and len(clusters) > 1:
        text = f"[{', '.join(map(quoted, clusters))}]"
        also.append(Key("clusters", text, "slurmdbd serves these; without it, this machine's"))
        also.append(Key("cluster_in_id", "true", "needed with several clusters"))
    site = Key(
        "mapping",
        "{meta: {site_id: {value: MY-SITE}}}",
        "the site's name, as your Auditor has it; without it, the cluster's",
    )
    also.append(site)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", cluster) or "cluster"
    if not cluster:
        said.append("the cluster's name is not known: change name and record_prefix")
    return Proposal(name, keys, found=found, said=said, also=also)


def _clusters() -> tuple[list[str] | None, str]:
    """The clusters that slurmdbd serves, or None and why they are not known."""
    arguments = ["sacctmgr", "--noheader", "--parsable2", "show", "cluster", "format=cluster"]
    output, why = ask(arguments)
    return (None, why) if output is None else (output.split(), why)


def _mode(settings: dict[str, str], *, asks_slurmdbd: bool) -> list[Key]:
    storage = settings.get("AccountingStorageType", "")
    if asks_slurmdbd or "slurmdbd" in storage:
        return [Key("mode", "sacct", "slurmdbd is used (AccountingStorageType), and sacct asks it")]
    mode = Key("mode", "jobcomp", "the text log of JobCompType=jobcomp/filetxt")
    if "filetxt" in settings.get("JobCompType", ""):
        place = settings.get("JobCompLoc", "")
        if place.startswith("/"):
            return [mode, Key("jobcomp_path", quoted(place), "JobCompLoc of this cluster")]
        return [mode, _PLACE]
    if settings:
        kept = settings.get("JobCompType") or "not set"
        why = f"neither slurmdbd nor jobcomp/filetxt is set up (JobCompType: {kept})"
        return [Key("mode", "sacct", why, fill_in=True)]
    return [Key("mode", "sacct", "slurmdbd is asked by sacct", fill_in=True)]
