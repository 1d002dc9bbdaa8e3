"""What is kept of rounds and of the drift detectors, in the database that `daemon.state` opens."""

from __future__ import annotations

from daemon.state import Database


class Rounds:
    """Rounds: when, why, what was planned, and how it ended. What they were charged is in the ledger."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def begin(self, cause: str, now: float) -> int:
        with self._db.transaction() as db:
            cursor = db.execute("INSERT INTO rounds (started, state, cause) VALUES (?, 'running', ?)", (now, cause))
            return int(cursor.lastrowid or 0)

    def end(self, id: int, state: str, now: float, **columns: str | None) -> None:
        """`columns`: any of plan, report, version, reason."""
        sets = "".join(f", {name} = :{name}" for name in columns)
        with self._db.transaction() as db:
            db.execute(
                f"UPDATE rounds SET state = :state, ended = :now{sets} WHERE id = :id",  # noqa: S608
                {**columns, "state": state, "now": now, "id": id},
            )

    def replace_live(self, state: str, version: str | None = None) -> None:
        """The round whose model serves is now `state`; with `version`, that version's round serves again."""
        with self._db.transaction() as db:
            db.execute("UPDATE rounds SET state = ? WHERE state = 'live'", (state,))
            db.execute("UPDATE rounds SET state = 'live' WHERE version = ? AND version IS NOT NULL", (version,))

    def interrupt_running(self, now: float) -> int:
        """After a crash: what was running is over; what it was charged stays charged."""
        with self._db.transaction() as db:
            sql = "UPDATE rounds SET state = 'interrupted', ended = ?, reason = ? WHERE state = 'running'"
            return db.execute(sql, (now, "the service stopped")).rowcount


class Detectors:
    """State of the drift detectors, and the numbers they have not seen yet."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def load(self, name: str) -> tuple[str | None, int]:
        """A detector's saved state and the last slot it has seen; (None, -1) for a new one."""
        row = self._db.row("SELECT state, seen_slot FROM detectors WHERE name = ?", name)
        return (None, -1) if row is None else (row["state"], row["seen_slot"])

    def fresh(self, column: str, seen_slot: int) -> list[tuple[int, float]]:
        """(slot, value) of finished documents after `seen_slot`, up to the first one still being processed."""
        sql = (
            f"SELECT slot, {column} AS value FROM documents WHERE state = 'done' AND slot > ? AND value IS NOT NULL "  # noqa: S608
            "AND slot < COALESCE((SELECT MIN(slot) FROM documents WHERE state = 'claimed'), slot + 1) ORDER BY slot"
        )
        return [(row["slot"], row["value"]) for row in self._db.rows(sql, seen_slot)]

    def save(self, name: str, state: str, seen_slot: int, alarmed: bool, now: float) -> None:
        """Keeps the detector's state; `alarmed` keeps the time of the latest alarm."""
        sql = (
            "INSERT INTO detectors VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET state = excluded.state, "
            "seen_slot = excluded.seen_slot, alarmed = COALESCE(excluded.alarmed, alarmed), checked = excluded.checked"
        )
        with self._db.transaction() as db:
            db.execute(sql, (name, state, seen_slot, now if alarmed else None, now))

    def replace(self, name: str, state: str) -> None:
        with self._db.transaction() as db:
            db.execute("UPDATE detectors SET state = ? WHERE name = ?", (state, name))
