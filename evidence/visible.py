"""Owns making text from elsewhere harmless within a line of ours: control characters become visible."""

from __future__ import annotations

import re

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def visible(match: re.Match[str]) -> str:
    """Caret notation for C0 and DEL, as `cat -v` shows them; a number for the others."""
    code = ord(match.group())
    if code < 0x20:
        return "^" + chr(code + 0x40)
    return "^?" if code == 0x7F else f"<U+{code:04X}>"


def one_line(text: str) -> str:
    """Text from elsewhere for use within one line of ours: every control character made visible."""
    return _CONTROLS.sub(visible, text)
