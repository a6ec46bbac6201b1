"""Output as terminals get it, and what of it is to be read: each case is bytes, and the lines they show.

A line is text as the log shows it. What is no text stands between ⟦ and ⟧, and styles stand before their
text, as `{classes|text}`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """Output of one stream, and the lines that it is."""

    name: str
    data: bytes
    lines: tuple[str, ...]


def _case(name: str, data: str | bytes, *lines: str) -> Case:
    return Case(name, data.encode() if isinstance(data, str) else data, lines)


ESC = "\x1b"

CORPUS = (
    _case("plain", "one\ntwo\n", "one", "two"),
    _case("no end of line", "one\ntwo", "one", "two"),
    _case("empty lines", "\n\nx\n", "", "", "x"),
    _case("CR LF", "one\r\ntwo\r\n", "one", "two"),
    _case("many CR before LF", "one\r\r\n", "one"),
    _case("tabs stay", "a\tb\n", "a\tb"),
    _case(
        "sixteen colours",
        f"{ESC}[31mred{ESC}[0m plain {ESC}[92mgreen{ESC}[39m\n",
        "{a1|red} plain {a10|green}",
    ),
    _case("bold, dim and colour", f"{ESC}[1;31mx{ESC}[22my{ESC}[2mz{ESC}[0m\n", "{a1 bd|x}{a1|y}{a1 dm|z}"),
    _case("empty parameters reset", f"{ESC}[4mu{ESC}[mv\n", "{ul|u}v"),
    _case("an empty one among others", f"{ESC}[1mb{ESC}[;31mr\n", "{bd|b}{a1|r}"),
    _case("backgrounds", f"{ESC}[41;97m x {ESC}[49;39my\n", "{b1| x }y"),
    _case("bright background", f"{ESC}[104mx{ESC}[0m\n", "{b12|x}"),
    _case("inverse", f"{ESC}[7mx{ESC}[31my{ESC}[27mz{ESC}[0m\n", "{inv|x}{b1|y}{a1|z}"),
    _case("inverse of a background", f"{ESC}[7;42mx{ESC}[0m\n", "{a2|x}"),
    _case("256 colours", f"{ESC}[38;5;9mx{ESC}[38;5;46my{ESC}[38;5;232mz{ESC}[0m\n", "{a9|x}{a10|y}{a0|z}"),
    _case("24 bits", f"{ESC}[38;2;250;10;10mx{ESC}[48;2;0;0;230my{ESC}[0m\n", "{a9|x}{b4|y}"),
    _case("24 bits with colons", f"{ESC}[38:2::0:200:0mx{ESC}[38:5:3my{ESC}[0m\n", "{a2|x}{a3|y}"),
    _case("a colour cut short", f"{ESC}[38;5mx{ESC}[38mx{ESC}[0m\n", "xx"),
    _case("underline of other kinds", f"{ESC}[4:3mx{ESC}[4:0my\n", "{ul|x}y"),
    _case("colour of the underline", f"{ESC}[58;5;1;4mx{ESC}[0m\n", "{ul|x}"),
    _case("struck and italic", f"{ESC}[3;9mx{ESC}[23;29my\n", "{it so|x}y"),
    _case("blink is dropped, hidden is shown", f"{ESC}[5;8mx{ESC}[0m\n", "x"),
    _case(
        "a style goes on over lines", f"{ESC}[32mone\ntwo\n{ESC}[0mthree\n", "{a2|one}", "{a2|two}", "three"
    ),
    _case("a private sequence is no style", f"{ESC}[>4;1mx\n", "x"),
    _case("progress", "1%\r2%\r3%\n", "3%"),
    _case("progress that gets shorter", "100%\r9%\n", "9%0%"),
    _case("progress that erases", f"downloading\r{ESC}[Kdone\n", "done"),
    _case("erase the whole line", f"abc{ESC}[2K\rx\n", "x"),
    _case("erase up to the cursor", f"abcdef\rab{ESC}[1Kx\n", "  xdef"),
    _case("move in the line", f"abc{ESC}[2Dx{ESC}[3Cy{ESC}[1Gz\n", "zxc  y"),
    _case("backspace", "abc\b\bx\n", "axc"),
    _case("styles of a rewritten line", f"{ESC}[31mold\r{ESC}[32mn\n", "{a2|n}{a1|ld}"),
    _case("wide rewriting", "ab\r\U0001f680\n", "\U0001f680b"),
    _case("cursor shown and hidden", f"{ESC}[?25lx{ESC}[?25h\n", "x"),
    _case("character sets", f"{ESC}(Bx{ESC}(0y\n", "xy"),
    _case("clear the screen", f"{ESC}[2Jx\n", "⟦ESC⟧[2Jx"),
    _case("move up", f"{ESC}[1Ax\n", "⟦ESC⟧[1Ax"),
    _case("a title", f"{ESC}]0;title\x07x\n", "⟦ESC⟧]0;title⟦BEL⟧x"),
    _case("a link", f"{ESC}]8;;http://x/{ESC}\\y\n", "⟦ESC⟧]8;;http://x/⟦ESC⟧\\y"),
    _case("an escape at the end of a line", f"x{ESC}\ny{ESC}[3\nz\n", "x⟦ESC⟧", "y⟦ESC⟧[3", "z"),
    _case("an escape in an escape", f"{ESC}[3{ESC}[31mx{ESC}[0m\n", "⟦ESC⟧[3{a1|x}"),
    _case("long parameters", f"{ESC}[{'0;' * 30}31mx{ESC}[0m\n", "{a1|x}"),
    _case("controls", "a\x00b\x01\x7f\x0b\x0c\n", "a⟦NUL⟧b⟦SOH⟧⟦DEL⟧⟦VT⟧⟦FF⟧"),
    _case("controls beyond ASCII", "a\u0085b\u009b31mc\n", "a⟦U+0085⟧b⟦U+009B⟧31mc"),
    _case("marks that turn text round", "a\u202eb\u2066c\u200f\n", "a⟦U+202E⟧b⟦U+2066⟧c⟦U+200F⟧"),
    _case("separators", "a\u2028b\u2029c\ufeff\n", "a⟦U+2028⟧b⟦U+2029⟧c⟦U+FEFF⟧"),
    _case("a replacement character", "a\ufffdb\n", "a\ufffdb"),
    _case("bytes that are no text", b"a\xff\xfeb\xc3\n", "a⟦FF FE⟧b⟦C3⟧"),
    _case("overlong and surrogates", b"\xc0\xaf\xed\xa0\x80x\n", "⟦C0 AF ED A0 80⟧x"),
    _case("styles around bad bytes", b"\x1b[31ma\xffb\x1b[0mc\n", "{a1|a}⟦FF⟧{a1|b}c"),
    _case("many languages", "žluťoučký 漢字 العربية 👩‍👩‍👧\n", "žluťoučký 漢字 العربية 👩‍👩‍👧"),
    _case("markup", "<img src=x onerror=alert(1)>&lt;\n", "<img src=x onerror=alert(1)>&lt;"),
)
