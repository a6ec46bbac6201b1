"""The HTTP client that the command line, remote runners and agent tools share."""
