"""Untrusted text in Markdown."""

from ecgvf.core.markdown import code, escape


def test_text_keeps_neither_markup_nor_html_and_is_one_line() -> None:
    assert escape("![a](b) <b>&amp;\n# `c` | ~~d~~ *e* _f_ \\") == (
        "!\\[a\\](b) &lt;b&gt;&amp;amp; \\# \\`c\\` \\| \\~\\~d\\~\\~ \\*e\\* \\_f\\_ \\\\"
    )


def test_text_stays_in_its_code_span() -> None:
    assert code("a`b_c|d\ne\\") == "a b_c d e\\"
