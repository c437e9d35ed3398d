"""The card (README.md): generated from the facts of the runs, except for what people wrote.

The generated body stands between two markers; the text outside is people's own, like their fields in the YAML.
"""

from functools import lru_cache
from pathlib import Path

import jinja2

from ecgvf.core import markdown
from ecgvf.core.errors import DatasetError
from ecgvf.publish import front_matter
from ecgvf.publish.catalogue import Catalogue
from ecgvf.publish.front_matter import PAPER
from ecgvf.publish.licence import TERMS, is_nano, licence, providers

BEGIN = "<!-- ecgvf:begin (generated from the run: write above or below; every push replaces the text in between) -->"
END = "<!-- ecgvf:end -->"

SUMMARY = (
    "Pairs of prompts that differ by one concept, and the images that an autoregressive model rendered of both from "
    "one seed: data to erase a concept from such a model, and to measure that it is gone."
)

CITATION = """\
@misc{fan2025ear,
  title         = {{EAR}: Erasing Concepts from Unified Autoregressive Models},
  author        = {Fan, Haipeng and Zhang, Shiyuan and Baohunesitu and Guo, Zihang and Zhang, Huaiwen},
  year          = {2025},
  eprint        = {2506.20151},
  archivePrefix = {arXiv},
  url           = {https://arxiv.org/abs/2506.20151}
}"""

_BEGIN = BEGIN.split(" (")[0]  # the rest differs between versions of ecgvf


def write_card(
    catalogue: Catalogue, *, repo: str | None = None, before: str | None = None, previous: Catalogue | None = None
) -> str:
    """README.md for ``catalogue``, published as ``repo``; it replaces ``before``, generated from ``previous``.

    Raises ``DatasetError`` if the YAML or the markers of ``before`` are damaged, as people's text would be lost.
    """
    fields, text = front_matter.parse_card(before or "")
    body = f"{BEGIN}\n{_body(catalogue, repo)}{END}\n"
    return front_matter.format_card(front_matter.generate(catalogue, fields, previous), _replace_body(text, body))


def _replace_body(text: str, body: str) -> str:
    """``text`` with ``body`` instead of what stands between the markers, or at the end if there are none."""
    if _BEGIN not in text and END not in text:
        return f"{text.rstrip()}\n\n{body}" if text.strip() else f"\n{body}"
    start, stop = text.find(_BEGIN), text.find(END) + len(END)
    if start < 0 or stop < start + len(END) or text.count(_BEGIN) + text.count(END) != 2:
        raise DatasetError("the card (README.md) lost one of its lines ecgvf:begin and ecgvf:end: put it back first")
    return f"{text[:start]}{body.rstrip()}{text[stop:]}"


def _body(catalogue: Catalogue, repo: str | None) -> str:
    concepts = list(catalogue.concepts.values())
    body = _template().render(
        title=front_matter.title(catalogue),
        summary=SUMMARY,
        citation=CITATION,
        paper=PAPER,
        repo=repo,
        concepts=catalogue.concepts,
        versions=catalogue.versions,
        retained=any("retain" in facts.counts for facts in concepts),
        reviewed=any(facts.reviewed for facts in concepts),
        imported="found" in front_matter.language_creators(concepts),
        nano=any(is_nano(facts) for facts in concepts),
        offline=any(writer.writer == "offline" for facts in concepts for writer in facts.writers),
        licence=licence(concepts)[1],
        terms=[TERMS[provider] for provider in providers(concepts)],
    )
    return body.rstrip() + "\n\n"


@lru_cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters |= {
        "md": markdown.escape,
        "code": markdown.code,
        "counts": lambda counts: ", ".join(f"{count} {name}" for name, count in counts.items()) or "none",
        "settings": lambda settings: ", ".join(f"{name} {value:g}" for name, value in settings.items()),
        "total": lambda concepts, split: sum(version.counts.get(split, 0) for version in concepts.values()),
    }
    return environment.from_string((Path(__file__).parent / "card.md.j2").read_text(encoding="utf-8"))
