"""Recipes that train nothing: they change what the model is asked.

Each writes a run as a training does, with recipe.json in place of weights, so that whatever takes an adapter takes it.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ear.method.facts import ADAPTER_FACTS, adapter_settings, saved_facts
from ear.method.recipes import NEGATIVE_PROMPT, PROMPT_REWRITE, PromptRecipe
from ear.method.runs import PROMPT_RECIPE, TrainingRun, open_run
from ecgvf.core.concepts import Concept, folded, inflected, names_any
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import AdapterError, RecipeError
from ecgvf.core.files import pretty_json, write_atomic
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel

FORMAT = "ear-prompt-recipe-1"


@dataclass(frozen=True)
class PromptAdapter:
    """An adapter without weights: inside ``active``, the frozen model gets another prompt or a negative prompt."""

    facts: Mapping[str, Any]

    @property
    def concepts(self) -> list[str]:
        """The concept that it avoids, as a list like that of any adapter."""
        return [str(self.facts["concept"])]

    @property
    def rewrites(self) -> bool:
        """Whether it puts the surrogate into the concept's place; otherwise guidance leads away from the concept."""
        return bool(self.facts["recipe"]["name"] == PROMPT_REWRITE.name)

    @contextmanager
    def active(self, model: JanusModel) -> Iterator[JanusModel]:
        """Context with a copy of ``model`` that changes prompts; ``model`` itself is not changed."""
        if self.rewrites:
            terms, surrogate = tuple(self.facts["terms"]), str(self.facts["surrogate"])
            yield replace(model, rewrite=partial(rewrite, terms=terms, surrogate=surrogate))
        else:
            yield replace(model, negative_prompt=str(self.facts["negative_prompt"]))


def rewrite(prompt: str, *, terms: tuple[str, ...], surrogate: str) -> str:
    """Replace each of ``terms`` in ``prompt``, as ``Concept.term_in`` finds it, by ``surrogate``; the longest first."""
    if not names_any(terms, prompt):
        return prompt
    longest, text = sorted(terms, key=len, reverse=True), unicodedata.normalize("NFKC", prompt)
    # Ignoring case does not make "Straße" match STRASSE: only folding does.
    forms = [form for term in longest for form in (unicodedata.normalize("NFKC", term), folded(term))]
    return re.sub("|".join(map(inflected, forms)), lambda _: surrogate, text, flags=re.IGNORECASE)


def check_single(recipe: PromptRecipe, concept: Concept) -> None:
    """Raise ``RecipeError`` if ``concept`` is several."""
    if "+" in concept.name:
        raise RecipeError(f"recipe {recipe.name} changes the prompts of a single concept: name one dataset")


def write_prompt_adapter(store: Store, dataset: Dataset, model: JanusModel, recipe: PromptRecipe) -> TrainingRun:
    """Write ``recipe`` as a finished run, unless it exists. Raises ``RecipeError`` as ``check_single`` does."""
    concept = dataset.concept
    check_single(recipe, concept)
    asked: dict[str, Any] = {"terms": list(concept.terms), "surrogate": concept.surrogates[0]}
    if recipe == NEGATIVE_PROMPT:
        asked = {"negative_prompt": concept.terms[0]}
    settings = adapter_settings(
        concept, dataset.fingerprint, model, dataset.sampling, recipe=recipe.settings(), **asked
    )
    store.remember_first(concept.name)
    run = open_run(ConceptRun(store, concept), recipe.name, settings, 0)
    if run.finished:
        return run
    facts = saved_facts(concept, model, settings)
    write_atomic(run.path / PROMPT_RECIPE, pretty_json({"format": FORMAT, **facts}))
    run.finish_untrained(facts)
    return replace(run, new=True)


def read_prompt_adapter(file: Path) -> PromptAdapter:
    """Read what ``write_prompt_adapter`` wrote. Raises ``AdapterError`` for any other file."""
    try:
        facts = json.loads(file.read_bytes())
    except (OSError, ValueError):
        facts = None
    whole = isinstance(facts, dict) and facts.pop("format", None) == FORMAT and facts.keys() >= ADAPTER_FACTS
    if not whole or not isinstance(facts["recipe"], dict):
        raise AdapterError(f"{file} is not what `ear train` wrote: train again, or restore it")
    needed = {"terms", "surrogate"} if facts["recipe"].get("name") == PROMPT_REWRITE.name else {"negative_prompt"}
    if not facts.keys() >= needed:
        raise AdapterError(f"{file} lacks {sorted(needed)[0]}: train again, or restore it")
    return PromptAdapter(facts)
