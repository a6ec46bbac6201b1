"""Others' logs, each started, driven and stopped by a module of its own."""
