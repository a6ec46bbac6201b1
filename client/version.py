"""The version that the client and the command line tell others; a test compares it with pyproject.toml."""

VERSION = "0.1.0"
