"""Untrusted text in Markdown: in a paragraph, a heading, a cell of a table, or a code span."""

import html
import re


def escape(text: object) -> str:
    """``text`` in one line, without markup and HTML; not for code spans."""
    one_line = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", one_line)


def code(text: object) -> str:
    """``text`` for between the backticks of a code span, which knows no escapes: in one line, without ` and |."""
    return re.sub(r"[`|\s]", " ", str(text))
