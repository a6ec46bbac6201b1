"""The command line, settings and wiring: the only room that reads the environment and the clock."""
