"""Tests of the example, and the report that the demo collects as an artifact."""
