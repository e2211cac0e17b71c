"""The ledger of an archive: a table in Parquet files that are only ever added, with rows for every file.

A run first writes a row for every file that it lists: `waiting` for photos, `left out` for other files. When a photo is
done or has failed, another row says so. Each row has a key, a hash of the file's version, the model, the settings and
the result's path. A row of an earlier run counts if its key equals that of the listed photo. Of several, the last one
counts, but a row of the run itself counts before all others.
"""

import functools
import hashlib
import io
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import UserError, first_line
from common.files import describe_error

FOLDER = "_ledger"
WAITING, LEFT_OUT, DONE, FAILED = "waiting", "left out", "done", "failed"
# Rows are sorted by a hash of their path with this many values, so that a share of a large ledger can be read alone.
BUCKETS = 1 << 16
# Rows of a part that are stored together; a row group is read whole.
ROW_GROUP = 1 << 12
# Listed files that are looked up together, which bounds memory.
FILES_AT_A_TIME = 100_000
# Failures that a report names; the ledger has all.
MOST_NAMED = 100

SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("path", pa.string()),  # relative to the source
        ("bucket", pa.int32()),
        ("state", pa.string()),
        ("cause", pa.string()),  # why it was left out or failed
        ("size", pa.int64()),  # bytes
        ("version", pa.string()),  # time of change, or the object store's ETag
        ("result", pa.string()),  # relative to the output
        ("key", pa.string()),
        ("sha256", pa.string()),  # of the photo's file
        ("model", pa.string()),
        ("settings", pa.string()),
        ("seconds", pa.float64()),
        ("result_size", pa.int64()),  # bytes
        ("notes", pa.string()),  # what the result's format could not hold
    ]
)
RUN_SCHEMA = pa.schema({**dict.fromkeys(("run", "source", "model", "settings"), pa.string()), "files": pa.int64()})


def bucket_of(path):
    """The bucket, 0..BUCKETS - 1, that a path falls into."""
    return zlib.crc32(path.encode()) % BUCKETS


def key_of(*parts):
    """A hash of a file's version and of everything else that decides its result."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]


@dataclass
class Summary:
    """What became of the files of a run."""

    states: Counter = field(default_factory=Counter)  # {state: files}.
    # {(state, cause): files}. The cause of a waiting photo says why no row of an earlier run counts.
    causes: Counter = field(default_factory=Counter)
    failures: list = field(default_factory=list)  # (path, cause) of the first MOST_NAMED files that failed.


class Ledger:
    """The ledger in the output of an archive, a storage. One process writes it, any number read it."""

    def __init__(self, output):
        self._output = output
        self._added = 0

    def add(self, kind, run, rows):
        """Adds a part: a run's rows, a list of dictionaries, of kind "listed" or "worked", or its one of kind "run".

        Raises UserError where the part cannot be written.
        """
        if not rows:
            return
        if kind == "run":
            table = pa.Table.from_pylist(rows, RUN_SCHEMA)
        else:
            rows = [{**row, "run": run, "bucket": bucket_of(row["path"])} for row in rows]
            table = pa.Table.from_pylist(rows, SCHEMA).sort_by("bucket")
        content = io.BytesIO()
        pq.write_table(table, content, row_group_size=ROW_GROUP, compression="zstd")
        try:
            self._output.write(f"{FOLDER}/{run}-{self._added:06d}-{kind}.parquet", content.getvalue())
        except OSError as error:
            raise UserError(
                f"{self._output.location}/{FOLDER}: the ledger cannot be written ({describe_error(error)}); put this "
                "right, and the same command as before goes on"
            ) from error
        self._added += 1

    def parts(self, kind, run=""):
        """Paths of all parts of a kind, of one run or of all, in the order they were added."""
        try:
            files, _ = self._output.list_folder(FOLDER)
        except FileNotFoundError:
            return []
        names = [file.name for file in files if file.name.startswith(run)]
        return [f"{FOLDER}/{name}" for name in names if name.endswith(f"-{kind}.parquet")]

    def last_run(self):
        """The row of the last run whose listing is complete; None where there is none."""
        parts = self.parts("run")
        return self._read(parts[-1], None, None)[0] if parts else None

    def look_up(self, run, share=None, worked=None, retry_failed=False):
        """Yields (row, state, cause) for each file of a run: its row of the listing, its state now, and why.

        Within each share, files come in the order of their paths.

        Args:
            run: The run's row.
            share: Number of the share to look up, 0..shares(run) - 1; None for all of them, one after another.
            worked: Paths of the parts to read of kind "worked"; None for all.
            retry_failed: Whether photos that failed in an earlier run wait again.
        """
        worked = self.parts("worked") if worked is None else worked
        # The run's own parts come last, so that their rows count.
        worked = sorted(worked, key=lambda part: part.startswith(f"{FOLDER}/{run['run']}"))
        made = ["run", "path", "state", "cause", "version", "key", "result", "result_size"]
        listed = ["path", "state", "cause", "size", "version", "key", "result"]
        sizes = functools.lru_cache(1)(self._sizes)  # Paths are asked for folder by folder.

        def is_there(path, size):
            return sizes(path.rpartition("/")[0]).get(path) == size

        for number in range(shares(run)) if share is None else [share]:
            first, end = (BUCKETS * edge // shares(run) for edge in (number, number + 1))
            within = [("bucket", ">=", first), ("bucket", "<", end)]
            last = {row["path"]: row for part in worked for row in self._read(part, made, within)}
            rows = [row for part in self.parts("listed", run["run"]) for row in self._read(part, listed, within)]
            for row in sorted(rows, key=lambda row: row["path"].split("/")):
                yield row, *_state_of(row, last.get(row["path"]), run, retry_failed, is_there)

    def summary(self, run, retry_failed=False):
        """The `Summary` of a run's files."""
        summary = Summary()
        for row, state, cause in self.look_up(run, retry_failed=retry_failed):
            summary.states[state] += 1
            summary.causes[state, cause] += 1
            if state == FAILED and len(summary.failures) < MOST_NAMED:
                summary.failures.append((row["path"], cause))
        return summary

    def _sizes(self, folder):
        """{path: size in bytes} of the files in a folder of the output; {} where there is none."""
        try:
            return {str(PurePosixPath(folder, file.name)): file.size for file in self._output.list_folder(folder)[0]}
        except FileNotFoundError:
            return {}

    def _read(self, part, columns, within):
        """Rows of a part, dicts of some columns, that pass a filter. Raises UserError where the part is damaged."""
        with self._output.open(part) as file:
            try:
                return pq.read_table(file, columns=columns, filters=within).to_pylist()
            except (pa.ArrowException, OSError) as error:
                if getattr(error, "errno", None):  # The storage does not answer.
                    raise
                raise UserError(
                    f"{self._output.location}/{part}: a damaged part of the ledger ({first_line(error)}); delete it, "
                    "and the same command as before colorizes anew what only this part knew"
                ) from error


def shares(run):
    """Number of shares, of about equal size, in which a run's files are looked up one after another."""
    return max(1, -(-run["files"] // FILES_AT_A_TIME))


def _state_of(listed, done, run, retry_failed, is_there):
    """The state of a file and its cause, (state, cause).

    They follow from its row of the listing and the last row that says what was done with it, or None. `is_there` says
    of a result's path and size in bytes whether the output holds it.

    A run does no photo twice: if two results overwrote each other, it would never end.
    """
    if listed["state"] != WAITING:
        return listed["state"], listed["cause"]
    if done is None:
        return WAITING, "new"
    if done["key"] != listed["key"]:
        changed = done["version"] != listed["version"]
        return WAITING, "changed since" if changed else "done with another model or other settings"
    in_this_run = done["run"] == run["run"]
    if done["state"] == FAILED:
        return (WAITING, "failed before") if retry_failed and not in_this_run else (FAILED, done["cause"])
    if is_there(done["result"], done["result_size"]):
        return DONE, None
    if in_this_run:
        return FAILED, "its result was removed or replaced meanwhile"
    return WAITING, "its result is gone"
