"""Templates of the requests to LLMs: Jinja2 files, one per kind of concept and split.

``prompts_templates/<kind>/{pairs,evaluation,retain}.md.j2`` start with a YAML front matter: the template's ``version``
and the ``language`` it asks for. A record keeps the template's name and hash, and the ledger the rendered text, so that
every prompt can be traced to its request. Users can bring templates of their own, which run in Jinja2's sandbox; an
error in one is reported with its file and line.
"""

import hashlib
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2 import StrictUndefined, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ecgvf.core import strict_yaml
from ecgvf.core.concepts import Concept, Kind, SurrogateChoice
from ecgvf.core.errors import TemplateError
from ecgvf.core.paths import templates_dir
from ecgvf.core.records import Split

FILES: dict[Split, str] = {
    "train": "pairs.md.j2",
    "validation": "evaluation.md.j2",
    "test": "evaluation.md.j2",
    "retain": "retain.md.j2",
}

_FRONT_MATTER = re.compile(r"\A---\n(?P<fields>.*?)^---\n", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Template:
    """A template file, not yet rendered."""

    file: Path
    name: str
    """Kind, purpose and version: ``object/pairs@1``."""
    body: str
    """What follows the front matter, on its own line numbers."""
    hash: str
    """SHA-256 of the whole file, hex."""
    language: str | None
    """The language it asks for, ISO 639-1; None: any."""
    split: Split

    def render(
        self,
        concept: Concept,
        *,
        count: int,
        iteration: int,
        kept: Sequence[str] = (),
        retained: Sequence[str] = (),
        surrogate_choice: SurrogateChoice = "single",
    ) -> str:
        """The request for ``count`` prompts; ``iteration`` counts from 0. Raises ``TemplateError`` with the line.

        ``kept`` are earlier target prompts of the same writer, listed so that it does not repeat them. ``retained`` has
        a concept for each prompt of the retain split. ``surrogate_choice`` is what replaces the concept.
        """
        try:
            template = _compiled(self.body)
            terms = concept.training_terms if self.split == "train" else concept.terms
            about = concept.model_dump(mode="json") | {"training_terms": list(concept.training_terms)}
            text = template.render(
                concept=about,
                split=self.split,
                count=count,
                iteration=iteration,
                kept=list(kept),
                retained=list(retained),
                surrogates=surrogate_choice,
                surrogate_of={term: concept.surrogate_of(term, surrogate_choice) for term in terms},
            ).strip()
        except TemplateSyntaxError as error:
            raise TemplateError(f"{self.file}, line {error.lineno}: {error.message}; correct the template") from error
        except Exception as error:  # a template is a program: it may raise anything
            raise TemplateError(f"{self.file}, line {_line(error)}: {error}; correct the template") from error
        if not text:
            raise TemplateError(f"{self.file} renders to an empty request: write it below the front matter")
        return text + "\n"


def load(kind: Kind, split: Split, folder: Path | None = None) -> Template:
    """The template for a kind of concept and a split, from ``folder`` or the shipped ones. Raises ``TemplateError``."""
    file = (folder or templates_dir()) / kind / FILES[split]
    try:
        text = file.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise TemplateError(
            f"cannot read the template {file}: {error.strerror}; a folder of templates has object/, style/, nudity/, "
            f"each with {', '.join(dict.fromkeys(FILES.values()))}"
        ) from error
    except UnicodeDecodeError as error:
        raise TemplateError(f"the template {file} is not UTF-8 text: save it as UTF-8") from error
    front = _FRONT_MATTER.match(text)
    fields = _fields(file, front["fields"]) if front else {}
    version, language = fields.get("version"), fields.get("language")
    if front is None or not isinstance(version, int | str):
        raise TemplateError(f"{file}, line 1: a template starts with a front matter: ---, version: 1, ---")
    if language is not None and not (isinstance(language, str) and re.fullmatch("[a-z]{2}", language)):
        raise TemplateError(f"{file}, line 1: language: use two letters (en, de, fr), or leave it out")
    body = "\n" * front[0].count("\n") + text[front.end() :]
    name = f"{kind}/{file.name.removesuffix('.md.j2')}@{version}"
    return Template(file, name, body, hashlib.sha256(text.encode()).hexdigest(), language, split)


@lru_cache(32)
def _compiled(body: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    return environment.from_string(body)


def _fields(file: Path, front_matter: str) -> dict[str, Any]:
    try:
        content = strict_yaml.load(front_matter)
    except yaml.YAMLError as error:
        line = (strict_yaml.line_of(error) or 0) + 1
        raise TemplateError(f"{file}, line {line}: the front matter is not valid YAML; correct it") from error
    return content if isinstance(content, dict) else {}


def _line(error: Exception) -> int | str:
    """The line of the template that raised ``error``: Jinja2 maps its frames to the template's lines."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return lines[-1] if lines and lines[-1] else "?"
