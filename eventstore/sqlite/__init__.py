"""The embedded backend: SQLite in WAL mode, one writer thread with group commit, read-only readers."""
