"""The site's pages: docs/ as it is, the reference, and what pages link to elsewhere in the repository.

README.md is the first page. A source file that a page links to becomes a page that shows it, and a folder becomes a
list of its files. So links work on the site as they do in the repository.
"""

import inspect
import posixpath
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from tools.site.notebook import as_markdown

AT_TOP = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files at the top of the repository → their pages."""
SHOWN = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".json": "json", "": "text"}
"""Suffixes of source files that a page shows → their language. Other and larger files are offered for download."""
MOST_SHOWN = 100_000
"""Maximum bytes of a source file that a page shows."""

_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_COMMANDS = re.compile(r"^\*\*Commands\*\*:\n\n(?:\* .*\n)+\n*", re.MULTILINE)
_LINK = re.compile(r"""(\]\(|\b(?:src|href)=")([^)"\s#]+)""")


class Pages:
    """The pages of the repository ``root``, written to the folder ``out``."""

    def __init__(self, root: Path, out: Path) -> None:
        self.root, self.out = root, out
        self._written: set[str] = set()

    def write(self) -> None:
        """Write all pages. Raises ``FileNotFoundError`` for a link to a file that is not there."""
        # Running the tutorial's notebook leaves these behind.
        shutil.copytree(
            self.root / "docs", self.out, ignore=shutil.ignore_patterns("ecgvf-store", ".ipynb_checkpoints")
        )
        documents = [file for file in self.out.rglob("*") if file.suffix in (".md", ".ipynb")]
        for path in (*AT_TOP, *(f"docs/{file.relative_to(self.out).as_posix()}" for file in documents)):
            self._write(path)
        for package in ("ecgvf", "ear"):
            (self.out / f"{package}.md").write_text(command_reference(package), encoding="utf-8")
        (self.out / "docstrings.md").write_text(docstrings("ecgvf", "ear"), encoding="utf-8")

    def name(self, path: str) -> str:
        """The path on the site of ``path`` in the repository: a page, or the file itself."""
        if path in AT_TOP:
            return AT_TOP[path]
        file = self.root / path
        name = path.removeprefix("docs/") if path.startswith("docs/") else f"source/{path}"
        if file.is_dir():
            return f"{name}/README.md" if (file / "README.md").exists() else f"{name}/index.md"
        if file.suffix == ".ipynb":
            return f"{name.removesuffix('.ipynb')}.md"
        shown = file.suffix in SHOWN and file.stat().st_size <= MOST_SHOWN and not path.startswith("docs/")
        return f"{name}.md" if shown else name

    def _write(self, path: str) -> None:
        if path in self._written:
            return
        self._written.add(path)
        file, out = self.root / path, self.out / self.name(path)
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix != ".md":
            shutil.copyfile(file, out)
        else:
            out.write_text(self._markdown(path, file), encoding="utf-8")

    def _markdown(self, path: str, file: Path) -> str:
        if file.is_dir():
            names = sorted(entry.name for entry in file.iterdir() if entry.is_file())
            links = "\n".join(f"- [`{name}`]({self._link(path, f'{path}/{name}')})" for name in names)
            return f"# {path}\n\n{links}\n"
        if file.suffix == ".ipynb":
            return self._with_links(path, as_markdown(file))
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".md":
            return self._with_links(path, text)
        return f"# {path}\n\n````{SHOWN[file.suffix]}\n{text.rstrip()}\n````\n"

    def _with_links(self, path: str, markdown: str) -> str:
        """``markdown`` of the document ``path`` with its links as they are on the site; quoted code stays as it is."""

        def link(match: re.Match[str]) -> str:
            before, target = match.groups()
            if re.match(r"[a-z]+:", target):
                return f"{before}{target}"
            return before + self._link(path, posixpath.normpath(posixpath.join(posixpath.dirname(path), target)))

        parts = _CODE.split(markdown)
        return "".join(part if number % 2 else _LINK.sub(link, part) for number, part in enumerate(parts))

    def _link(self, path: str, target: str) -> str:
        """The relative link from the page of ``path`` to the page of ``target``, which is written if it is missing."""
        if not (self.root / target).exists():
            raise FileNotFoundError(f"{path} links to {target}, which is not there")
        self._write(target)
        there = target.removeprefix("docs/") if target == path else self.name(target)  # a notebook offers itself
        return posixpath.relpath(there, posixpath.dirname(self.name(path)) or ".")


def command_reference(command: str) -> str:
    """Markdown of every command and option of ``command``, as Typer prints it, without its cut lists of commands."""
    arguments = [sys.executable, "-m", "typer", f"{command}.cli", "utils", "docs", "--name", command]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    return _COMMANDS.sub("", printed)


def docstrings(*packages: str) -> str:
    """Markdown that makes mkdocstrings show the signature and docstring of every public name of ``packages``."""
    text = "# Docstrings\n\nThe public names as the code declares them; the [Python API](api.md) explains their use.\n"
    for package in packages:
        module = import_module(package)
        text += f"\n## {package}\n"
        for name in module.__all__:
            text += f"\n::: {package}.{name}\n"
            for attribute, value in vars(getattr(module, name)).items():
                # A function of another module that a class has as its method, which mkdocstrings leaves out.
                if inspect.isfunction(value) and value.__qualname__.isidentifier() and attribute[0] != "_":
                    heading = f"    options: {{heading: {name}.{attribute}, heading_level: 4}}"
                    text += f"\n::: {value.__module__}.{value.__qualname__}\n{heading}\n"
    return text
