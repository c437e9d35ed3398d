"""The documentation as a site: this repository's builds without a fault, and each kind of fault is found."""

import json
from pathlib import Path

import pytest

from tools.site.__main__ import build
from tools.site.links import check
from tools.site.notebook import as_markdown
from tools.site.pages import Pages


@pytest.mark.slow
def test_the_documentation_builds_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    assert build(tmp_path) == []
    text = (tmp_path / "site" / "ear.html").read_text(encoding="utf-8")
    assert "--preview-every" in text  # generated from the command line
    assert "prompts_per_concept" in (tmp_path / "site" / "docstrings.html").read_text(encoding="utf-8")
    assert (tmp_path / "site" / "source" / "examples" / "church.py.html").exists()
    tutorial = (tmp_path / "site" / "tutorial.html").read_text(encoding="utf-8")
    assert tutorial.count("data:image/png") == 3 and "shows its surrogate" in tutorial  # kept with its outputs


def repository(folder: Path, **files: str) -> Path:
    """A repository of documents; ``a__b_md`` is the file a/b.md."""
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        (folder / name).write_text("# Title\n", encoding="utf-8")
    for name, text in files.items():
        path = folder / ".".join(name.replace("__", "/").rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_a_link_out_of_docs_leads_to_a_page_that_shows_the_file(tmp_path: Path) -> None:
    root = repository(
        tmp_path,
        docs__deep__page_md="[code](../../code/run.py) [first](../../README.md#title) [all](../../code)\n"
        "`[y](no.md)`\n```\n[x](no.md)\n```\n",
        code__run_py="print(1)\n",
    )
    Pages(root, tmp_path / "out").write()
    page = (tmp_path / "out" / "deep" / "page.md").read_text(encoding="utf-8")
    assert "[code](../source/code/run.py.md)" in page
    assert "[first](../index.md#title)" in page
    assert "[all](../source/code/index.md)" in page
    assert "`[y](no.md)`" in page and "[x](no.md)\n```" in page  # quoted code is left as it is
    assert "print(1)" in (tmp_path / "out" / "source" / "code" / "run.py.md").read_text(encoding="utf-8")
    assert "[`run.py`](run.py.md)" in (tmp_path / "out" / "source" / "code" / "index.md").read_text(encoding="utf-8")


def test_a_link_to_a_missing_file_is_an_error_that_names_both(tmp_path: Path) -> None:
    root = repository(tmp_path, docs__page_md="[gone](../code/gone.py)\n")
    with pytest.raises(FileNotFoundError, match=r"docs/page.md links to code/gone.py"):
        Pages(root, tmp_path / "out").write()


def test_faults_of_a_built_site_are_named(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<a href="a.html#there">1</a><a href="a.html#nowhere">2</a><a href="gone.html">3</a><a href="https://x.org">4</a>'
        '<script src="https://x.org/a.js"></script><img src="gone.png">',
        encoding="utf-8",
    )
    (tmp_path / "a.html").write_text('<h2 id="there">A</h2>', encoding="utf-8")
    (tmp_path / "alone.html").write_text('<a href="index.html">1</a>', encoding="utf-8")
    assert check(tmp_path) == [
        "index.html links to a.html#nowhere, which is not there",
        "index.html links to gone.html, which is not there",
        "index.html links to gone.png, which is not there",
        "index.html loads https://x.org/a.js from elsewhere",
        "no page links to alone.html",
    ]


def test_a_notebook_is_a_page_with_its_outputs(tmp_path: Path) -> None:
    image = {"data": {"image/png": "cGl4ZWxz\n"}, "metadata": {"image/png": {"alt": "A church"}}}
    note = {"name": "stderr", "text": ["a note\n"]}
    printed = {"name": "stdout", "text": ["60 pairs\n", "\x1b[1m2\x1b[0m rejected\n"]}
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["run()"], "outputs": [note, printed, image]},
    ]
    notebook = tmp_path / "tutorial.ipynb"
    notebook.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert as_markdown(notebook).split("\n\n") == [
        "# Title",
        "```python\nrun()\n```",
        "```text\n60 pairs\n2 rejected\n```",
        '<img alt="A church" src="data:image/png;base64,cGl4ZWxz">\n',
    ]
