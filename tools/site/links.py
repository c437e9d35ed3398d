"""Find the faults of a built site: broken links, pages that no link leads to, and anything loaded from elsewhere."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

LOADED = {"script": "src", "img": "src", "link": "href"}
"""Elements whose attribute makes a browser load a file."""


@dataclass
class Page(HTMLParser):
    """The links of a page, its ids, and the files that it loads."""

    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADED and LOADED[tag] in values and values.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(values[LOADED[tag]])


def check(site: Path) -> list[str]:
    """A line for each fault of the site in the folder ``site``."""
    pages = {file.resolve(): Page() for file in site.rglob("*.html")}
    for file, page in pages.items():
        page.feed(file.read_text(encoding="utf-8"))
    faults, reached = [], {(site / "index.html").resolve(), (site / "404.html").resolve()}
    for file, page in pages.items():
        name = file.relative_to(site.resolve())
        faults += [f"{name} loads {url} from elsewhere" for url in page.loaded if urlparse(url).netloc]
        for url in (*page.links, *page.loaded):
            if urlparse(url).scheme or urlparse(url).netloc or name.name == "404.html":
                continue
            path, fragment = urldefrag(url)
            target = (file.parent / unquote(path)).resolve() if path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (fragment and target in pages and unquote(fragment) not in pages[target].ids):
                faults.append(f"{name} links to {url}, which is not there")
            if target != file:
                reached.add(target)
    return sorted({*faults, *(f"no page links to {file.name}" for file in pages.keys() - reached)})
