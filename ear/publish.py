"""Publish an adapter as a model repository on the Hugging Face Hub, with a card made of its figures."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import yaml
from huggingface_hub import HfApi
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ear.evaluation import Evaluation
from ear.evaluation.open_split import openings_text
from ear.evaluation.table import document
from ear.method import lora
from ear.method.adapter import FORMAT
from ear.method.open_adapter import adapter_facts
from ear.method.oracle import MODEL_FILE
from ear.method.runs import ADAPTER_FILE, FILES, PROMPT_RECIPE, TrainingRun
from ecgvf.core import markdown
from ecgvf.core.errors import AdapterError
from ecgvf.core.files import pretty_json, read_json, write_atomic
from ecgvf.core.hub import REPO, hub_errors
from ecgvf.janus import MODELS
from ecgvf.publish.front_matter import PAPER
from ecgvf.publish.redaction import redact
from ecgvf.publish.repository import check_name, commit
from ecgvf.world.domain import NANO

CARD, SHEET = "README.md", "sheet.png"


def push(evaluation: Evaluation, repo: str, *, public: bool = False) -> str:
    """Upload the adapter that ``evaluation`` measured, its card and its contact sheet in one commit; returns its hash.

    A new repository is private unless ``public``; an existing repository keeps its visibility. The file gets the name
    by which ``find_adapter`` finds it. Raises ``SettingsError`` for an invalid ``repo``, ``AdapterError`` for several
    adapters and for a whole model, ``HubError``. Nothing that is uploaded names a local folder (``redact``).
    """
    check_publishable(evaluation.adapters, repo)
    [file] = evaluation.adapters
    files = {_published_name(file): file}
    if file.name == lora.LORA_FILE:
        files[lora.CONFIG] = file.with_name(lora.CONFIG)
    with tempfile.TemporaryDirectory() as folder:
        content: dict[str, Path | bytes] = {name: _redacted(each, Path(folder)) for name, each in files.items()}
        content[SHEET] = evaluation.save_contact_sheet(Path(folder) / SHEET)
        run, facts = TrainingRun(file.parent), adapter_facts(file)
        trained_with = run.facts["versions"] if run.finished and run.adapter == file else None
        content[CARD] = card(evaluation, facts, repo, [*files], trained_with).encode()
        api = HfApi()
        with hub_errors(repo, repo_type="adapter"):
            api.create_repo(repo, private=not public, exist_ok=True)
            # An adapter that was published before may be another kind of file, which would be found first.
            replaced = {*FILES, lora.CONFIG} & set(api.list_repo_files(repo)) - content.keys()
            erased = " and ".join(_erased(facts))
            message = f"{erased} erased from {Path(evaluation.model).name} by {evaluation.recipe}"
            return commit(repo, content, sorted(replaced), message, repo_type=None)


def check_publishable(adapters: Sequence[Path], repo: str) -> None:
    """Raise ``SettingsError`` for an invalid ``repo``, ``AdapterError`` for several adapters and for a whole model."""
    check_name(repo)
    if len(adapters) != 1:
        raise AdapterError("several adapters are measured together: publish each alone, with its own figures")
    _published_name(adapters[0])


def _published_name(file: Path) -> str:
    """The name by which ``find_adapter`` finds the adapter in a repository, whatever ``file`` is called here."""
    if file.name == MODEL_FILE:
        raise AdapterError(f"{file} is a whole model and no adapter: publish its folder with `hf upload`")
    if file.name == lora.LORA_FILE:
        return lora.LORA_FILE
    return PROMPT_RECIPE if file.suffix == ".json" else ADAPTER_FILE


def _redacted(file: Path, folder: Path) -> Path:
    """``file`` of an adapter; a copy in ``folder`` without local paths, if its facts or configuration name any."""
    if file.suffix == ".json":
        content = read_json(file)
        if (public := redact(content)) == content:
            return file
        write_atomic(folder / file.name, pretty_json(public))
    else:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata()
        facts = json.loads(metadata[FORMAT])
        if (public := redact(facts)) == facts:
            return file
        metadata[FORMAT] = json.dumps(public, sort_keys=True, ensure_ascii=False)
        save_file(load_file(file), folder / file.name, metadata)
    return folder / file.name


def _erased(facts: Mapping[str, Any]) -> list[str]:
    """The concepts that an adapter with these facts erases."""
    return str(facts["concept"]).split("+")


def is_local(model: str) -> bool:
    """Whether ``model`` is a folder, which has to be named when an adapter of it is used."""
    return model not in MODELS and not re.fullmatch(REPO, model)


def card(
    evaluation: Evaluation,
    facts: Mapping[str, Any],
    repo: str,
    files: Sequence[str],
    trained_with: Mapping[str, str] | None,
) -> str:
    """The card: what the adapter does, how to use it, every figure with its interval, and where it comes from.

    ``trained_with``: the versions of packages that trained it; None if they are unknown.
    """
    evaluation = replace(evaluation, judge=redact(evaluation.judge))
    if evaluation.fidelity is not None:
        evaluation = replace(evaluation, fidelity=replace(evaluation.fidelity, clip=redact(evaluation.fidelity.clip)))
    erased, model = _erased(facts), markdown.escape(Path(evaluation.model).name)
    nano = evaluation.model == NANO
    header: dict[str, Any] = {
        "library_name": "peft" if lora.CONFIG in files else "ear",
        "tags": ["concept-erasure", "autoregressive-image-generation", "ear"],
        "license": "apache-2.0" if nano else "other",
    }
    if not nano and not is_local(evaluation.model):
        header["base_model"] = MODELS.get(evaluation.model, evaluation.model)
    if lora.CONFIG in files:
        what = "a LoRA adapter in PEFT's format"
    elif ADAPTER_FILE in files:
        what = "the full weights of the tuned modules"
    else:
        what = "a recipe that trains nothing and changes prompts"
    settings = {"recipe": redact(facts["recipe"]), "dataset": facts.get("dataset"), "versions": trained_with}
    page = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return page.from_string(_CARD).render(
        header=yaml.safe_dump(header, sort_keys=False).rstrip(),
        concepts=markdown.escape(" and ".join(erased)),
        surrogates="a surrogate" if len(erased) == 1 else "surrogates",
        measured="On" if erased == [evaluation.concept] else f"Measured on {markdown.escape(evaluation.concept)}, on",
        model=model,
        what=what,
        options=" --model FOLDER" if is_local(evaluation.model) else "",
        repo=repo,
        sheet=SHEET,
        paper=PAPER,
        split=evaluation.split,
        judge=markdown.code(evaluation.judge),
        openings=openings_text(evaluation.test_openings),
        figures=document([evaluation], ["after"], "markdown"),
        settings=json.dumps(settings, indent=2, ensure_ascii=False),
        nano=nano,
    )


_CARD = """---
{{ header }}
---

# {{ concepts }} erased from {{ model }}

This repository holds {{ what }}. With it, {{ model }} turns {{ concepts }} into {{ surrogates }} in its images. Made
with `ear`, after [*EAR: Erasing Concepts from Unified Autoregressive Models*]({{ paper }}).

![Prompts as rows: before erasing, after it, and the original model asked for the surrogate]({{ sheet }})

```sh
ear generate --adapter hub:{{ repo }}{{ options }} --prompt "…"
```

## Figures

{{ measured }} the {{ split }} split, judged by `{{ judge }}`: shares with 95% intervals over prompts. *Ceiling* is the
original model asked for the surrogate. {{ openings }}

{{ figures }}

## Provenance

```json
{{ settings }}
```
{% if not nano %}
The licence of {{ model }} applies to its weights, including the tuned ones.
{% endif %}"""
