"""Who may do what to a run, and which events that causes."""
