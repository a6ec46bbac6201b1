"""Executes a job in a sandbox and reports what it saw; knows no log."""
