"""Votes in sqlite: data/opinions/<comparison>.db. Many raters at once, and several servers on one file.

A vote is committed before its answer goes out, in write-ahead mode with a sync for each commit: a server that is
killed, or a machine that loses its power, loses no vote that was answered. A rater counts once for a picture or a pair,
whichever side it stood on: of a double click or a reload the first vote stays. Votes belong to the digest of the
comparison's pictures: after the models were compared anew they are still there, and counted apart.
"""

import contextlib
import csv
import dataclasses
import datetime
import io
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sr_core import files
from sr_core.errors import SrError
from sr_core.evaluate.opinions import Pair, Score

VERSION = 1
APPLICATION = 0x53524F50  # "SROP", by which `file` and we know it from other sqlite files
BUSY_S = 20.0  # that a writer waits for others

SCHEMA = """
CREATE TABLE scores (
    id INTEGER PRIMARY KEY, time TEXT NOT NULL, rater TEXT NOT NULL, comparison TEXT NOT NULL,
    test_set TEXT NOT NULL, image TEXT NOT NULL, model TEXT NOT NULL, weights TEXT NOT NULL,
    score INTEGER NOT NULL CHECK (score BETWEEN 1 AND 5),
    UNIQUE (rater, comparison, test_set, image, model)
) STRICT;
CREATE TABLE pairs (
    id INTEGER PRIMARY KEY, time TEXT NOT NULL, rater TEXT NOT NULL, comparison TEXT NOT NULL,
    test_set TEXT NOT NULL, image TEXT NOT NULL,
    left_model TEXT NOT NULL, left_weights TEXT NOT NULL, right_model TEXT NOT NULL, right_weights TEXT NOT NULL,
    choice TEXT NOT NULL CHECK (choice IN ('left', 'tie', 'right')), CHECK (left_model <> right_model)
) STRICT;
CREATE UNIQUE INDEX pairs_once ON pairs
    (rater, comparison, test_set, image, min(left_model, right_model), max(left_model, right_model));
CREATE TABLE informed (
    rater TEXT NOT NULL, comparison TEXT NOT NULL, time TEXT NOT NULL, PRIMARY KEY (rater, comparison)
) STRICT;
"""
SCORES = "time, rater, comparison, test_set, image, model, weights, score"
PAIRS = "time, rater, comparison, test_set, image, left_model, left_weights, right_model, right_weights, choice"
CSV_HEAD = (
    *("kind", "time", "rater", "comparison", "test_set", "image", "model", "weights", "right", "right_weights"),
    "answer",
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """How many votes there are on one state of a comparison's pictures."""

    comparison: str  # the digest of the pictures
    num_scores: int
    num_pairs: int
    last: str  # when the last one came


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Votes:
    """The votes on one comparison, in the file `path`."""

    path: Path

    def add_score(self, score: Score, *, comparison: str, weights: str) -> bool:
        """Whether it counts: False where the rater has scored this picture before.

        Raises:
            SrError: it cannot be stored.
        """
        values = (_now(), score.rater, comparison, score.test_set, score.image, score.model, weights, score.score)
        return self._add("scores", SCORES, values)

    def add_pair(self, pair: Pair, *, comparison: str, left_weights: str, right_weights: str) -> bool:
        """Whether it counts: False where the rater has judged this pair before.

        Raises:
            SrError: it cannot be stored.
        """
        place = (_now(), pair.rater, comparison, pair.test_set, pair.image)
        return self._add("pairs", PAIRS, (*place, pair.left, left_weights, pair.right, right_weights, pair.choice))

    def scores(self, comparison: str, *, rater: str | None = None) -> tuple[Score, ...]:
        """The scores on pictures with the digest `comparison`, as they came; of one rater or of all."""
        rows = self._rows("rater, test_set, image, model, score", "scores", comparison, rater)
        return tuple(Score(rater=a, test_set=b, image=c, model=d, score=e) for a, b, c, d, e in rows)

    def pairs(self, comparison: str, *, rater: str | None = None) -> tuple[Pair, ...]:
        """The pairs judged on pictures with the digest `comparison`; of one rater or of all."""
        rows = self._rows("rater, test_set, image, left_model, right_model, choice", "pairs", comparison, rater)
        return tuple(Pair(rater=a, test_set=b, image=c, left=d, right=e, choice=f) for a, b, c, d, e, f in rows)

    def inform(self, rater: str, comparison: str) -> None:
        """Notes that the rater has seen results, and is no longer blind."""
        with self._writing() as database:
            database.execute("INSERT OR IGNORE INTO informed VALUES (?, ?, ?)", (rater, comparison, _now()))

    def is_informed(self, rater: str, comparison: str) -> bool:
        """Whether the rater has seen results of these pictures."""
        with self._reading() as database:
            asked = "SELECT 1 FROM informed WHERE rater = ? AND comparison = ?"
            return database.execute(asked, (rater, comparison)).fetchone() is not None

    def held(self) -> tuple[Held, ...]:
        """The states of the pictures on which there are votes, the last voted on first."""
        asked = (
            "SELECT comparison, sum(kind = 1), sum(kind = 2), max(time) FROM (SELECT comparison, time, 1 AS kind FROM "
            "scores UNION ALL SELECT comparison, time, 2 FROM pairs) GROUP BY comparison ORDER BY max(time) DESC"
        )
        with self._reading() as database:
            rows = database.execute(asked).fetchall()
        return tuple(Held(comparison=a, num_scores=b, num_pairs=c, last=d) for a, b, c, d in rows)

    def as_json(self) -> str:
        """Every vote with all that is known of it."""
        scores, pairs = self._everything()
        return files.to_json({"version": VERSION, "scores": scores, "pairs": pairs})

    def as_csv(self) -> str:
        """Every vote on a line of its own; `right` and `right_weights` are empty for scores."""
        scores, pairs = self._everything()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(CSV_HEAD)
        for row in scores:
            *place, answer = row.values()
            writer.writerow(("score", *place, "", "", answer))
        for row in pairs:
            writer.writerow(("pair", *row.values()))
        return text.getvalue()

    def _everything(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        with self._reading() as database:
            database.execute("BEGIN")  # both tables at one moment
            return tuple(  # type: ignore[return-value]
                [
                    dict(zip(columns.split(", "), row, strict=True))
                    for row in database.execute(f"SELECT {columns} FROM {table} ORDER BY id")
                ]
                for columns, table in ((SCORES, "scores"), (PAIRS, "pairs"))
            )

    def _add(self, table: str, columns: str, values: tuple[object, ...]) -> bool:
        marks = ", ".join("?" * len(values))
        with self._writing() as database:
            found = database.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING", values)
            return found.rowcount == 1

    def _rows(self, columns: str, table: str, comparison: str, rater: str | None) -> list[tuple[Any, ...]]:
        asked = f"SELECT {columns} FROM {table} WHERE comparison = ? AND (? IS NULL OR rater = ?) ORDER BY id"
        with self._reading() as database:
            return database.execute(asked, (comparison, rater, rater)).fetchall()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            yield database

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The votes; where there is no file yet, none."""
        if self.path.exists():
            with self._open() as database:
                yield database
        else:
            with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
                database.executescript(SCHEMA)
                yield database

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each use: threads and servers share only the file."""
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)) as database:
                if _version(database) != (APPLICATION, VERSION):
                    self._prepare(database)
                database.execute("PRAGMA synchronous = FULL")
                yield database
        except sqlite3.Error as error:
            raise SrError(
                f"{self.path}: the votes cannot be read or written ({error}); if the file is damaged, move it away, "
                "its votes may be had back with sqlite3's .recover"
            ) from None

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Makes the tables in a file that is new, and refuses one that is not ours."""
        self._refuse_others(database)
        _write_ahead(database)
        database.execute("BEGIN IMMEDIATE")  # of two servers that begin at once the second finds it made
        if _version(database) != (APPLICATION, VERSION):
            self._refuse_others(database)
            for statement in SCHEMA.split(";\n"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")

    def _refuse_others(self, database: sqlite3.Connection) -> None:
        # tables first: another server may make the file between two looks, and commits all of it at once
        has_tables = database.execute("SELECT 1 FROM sqlite_master").fetchone() is not None
        application, version = _version(database)
        if application == APPLICATION and version != VERSION:
            raise SrError(
                f"{self.path}: its votes are of version {version}, this program knows version {VERSION}: use the "
                "program that wrote them, or move the file away"
            )
        if application != APPLICATION and (application or version or has_tables):
            raise SrError(f"{self.path}: is a database of something else, expected one of votes: move it away")


def path_of(opinions: Path, name: str) -> Path:
    """Where the votes on the comparison `name` lie."""
    return opinions / f"{name}.db"


def _version(database: sqlite3.Connection) -> tuple[int, int]:
    # in one statement: between two, another server may commit
    found = database.execute("SELECT application_id, user_version FROM pragma_application_id, pragma_user_version")
    application, version = found.fetchone()
    return application, version


def _write_ahead(database: sqlite3.Connection) -> None:
    """Changes the file's mode for good; where another does so just now, sqlite says busy at once instead of waiting."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
