"""Makes batches of the pieces of history files: each ad whole, by itself, and surely an ad."""

from collections import Counter

from collector.source import Batch, Context, Job, Unreadable, guarded
from collector_htcondor import classad, rotation, torn_ads
from collector_htcondor.imitations import Imitations
from collector_htcondor.jobs import JobReader

_STUMP = (
    "the ad is torn: its end was never written. A schedd that was killed meanwhile writes the job "
    "again when it restarts; a failed write (a full disk) loses it. Look whether a record of the "
    "job is there before discarding this"
)
IMITATION = "the record is part of a text with line ends, or has one: it is not surely a shadow's"


class PieceReader:
    """Turns the ads of history files into jobs."""

    def __init__(self, reader: JobReader, context: Context, *, of_epochs: bool) -> None:
        """Prepares.

        Args:
            reader: makes jobs of ads.
            context: with the log, for torn ads.
            of_epochs: whether shadows wrote the files, so that texts may imitate records.
        """
        self._reader, self._log, self._of_epochs = reader, context.log, of_epochs
        self._imitations = Imitations()

    def next_file(self) -> None:
        """Starts with another file."""
        self._imitations = Imitations()

    def batch(self, piece: rotation.Piece, period: range | None = None) -> Batch:
        """Makes jobs of the ads of a piece.

        Args:
            piece: of a file.
            period: epoch seconds; if given, ads that are no jobs count only if they may be of it.
        """
        jobs: list[Job] = []
        unreadable: list[Unreadable] = []
        filtered: Counter[str] = Counter()
        make, path = self._reader.job, str(piece.path)
        for ad in piece.ads:
            raw, where = ad.raw, f"{path}:{ad.at}"
            if not ad.intact:
                try:
                    raw, begin = self._untangled(ad, where, unreadable)
                except torn_ads.TornError as error:
                    unreadable.append(Unreadable(raw, where, str(error)))
                    continue
                where = f"{path}:{ad.at + begin}"
            found = guarded(make, raw, where)
            if isinstance(found, Job):
                jobs.append(found)
            elif period is not None and (left := rotation.left_queue(raw)) and left not in period:
                continue
            elif isinstance(found, str):
                filtered[found] += 1
            else:
                unreadable.append(found)
        if piece.stump:
            where = f"{path}:{piece.position.at}"
            unreadable.append(Unreadable(piece.stump, where, _STUMP))
        return Batch(jobs, unreadable, dict(filtered))

    def parse(self, raw: bytes, where: str) -> Job | Unreadable:
        """Makes a job of a record of a file; see `Source.parse`."""
        position = where.rpartition(":")[2]
        try:
            ad = torn_ads.whole(raw, int(position) if position.isdigit() else None).raw
        except torn_ads.TornError as error:
            return Unreadable(raw, where, str(error))
        if self._of_epochs and Imitations().is_one(raw):
            return Unreadable(raw, where, IMITATION)
        found = guarded(self._reader.job, ad, where)
        return Unreadable(raw, where, found) if isinstance(found, str) else found

    def _untangled(
        self, ad: rotation.Ad, where: str, unreadable: list[Unreadable]
    ) -> tuple[bytes, int]:
        """The ad without the stump of another that precedes it, and how long that is.

        Raises:
            TornError: when it is not surely one whole ad.
        """
        if ad.missing_bytes:
            raise torn_ads.TornError(
                f"the ad is larger than {rotation.AD_LIMIT_BYTES} bytes; "
                f"{ad.missing_bytes} bytes of it are left out here"
            )
        if self._of_epochs and self._imitations.is_one(ad.raw) and _is_end_of_run(ad.raw):
            raise torn_ads.TornError(IMITATION)
        found = torn_ads.whole(ad.raw, ad.at)
        if found.begin:
            stump = ad.raw[1 : found.begin + 1]
            of = classad.attribute(b"\n" + stump, "GlobalJobId")
            self._log.warning("history has a torn ad", where=where, job=_shown(of))
            if of is None or of != classad.attribute(found.raw, "GlobalJobId"):
                unreadable.append(Unreadable(stump, where, _STUMP))
        return found.raw, found.begin


def _is_end_of_run(raw: bytes) -> bool:
    return raw.startswith(b"EPOCH ", raw.rfind(b"\n*** ") + 5)


def _shown(text: bytes | None) -> str | None:
    return None if text is None else text.decode(errors="replace")
