"""What an auditor runs: the witness, which cosigns a log, and the monitor, which follows it leaf by leaf."""
