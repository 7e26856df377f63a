"""Text from rows and other machines, made safe to print: it is data, never terminal control."""

from __future__ import annotations


def printable(text: object) -> str:
    r"""Return the text with each unprintable character as its Python escape: ESC as ``\x1b``, a line feed as ``\n``.

    Unprintable are control, format (such as text direction) and unassigned characters, lone surrogates, and all white
    space but the plain space.
    """
    text = str(text)
    if text.isprintable():  # most texts, and a line is written for every message
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
