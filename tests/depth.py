"""Owns how many examples a property is tried with: few with every change, many more in `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import settings

DEEPER = 20 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 1


def examples(few: int) -> settings:
    """`few` of them in the suite, `DEEPER` times as many with the profile `deep`."""
    return settings(max_examples=few * DEEPER, deadline=None)
