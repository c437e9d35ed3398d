"""Prompts to rehearse that are target prompts with another word of the model's vocabulary in the concept's place.

They teach that only the concept's own words turn into the surrogate, and that any other word keeps its meaning.
``rehearsal_set`` leaves out words that name what is measured without rehearsal, those that name the concept, and those
for which the frozen model draws it.
"""

import random
import re
from collections.abc import Sequence

from ear.retained_concepts import RetainedConcept
from ecgvf.core import seeds
from ecgvf.core.concepts import inflected
from ecgvf.core.records import PromptPair
from ecgvf.janus import JanusModel
from ecgvf.world import grammar

_WORD = re.compile(r"[^\W\d_]{3,}")


def vocabulary(model: JanusModel) -> list[str]:
    """The words of three letters or more that are a single token of ``model``, sorted."""
    tokenizer = model.processor.tokenizer
    tokens = (tokenizer.convert_tokens_to_string([token]) for token in tokenizer.get_vocab())
    return sorted({text[1:] for text in tokens if text.startswith(" ") and _WORD.fullmatch(text[1:])})


def words_of(concept: RetainedConcept) -> set[str]:
    """The words, in lower case, with which prompts name ``concept``; not those of descriptions."""
    world = grammar.load_world()
    phrases = [concept.name]
    if concept.captions is None and (style := world.styles.get(concept.name)):
        phrases += [*style.before, *style.after, *style.spanish_before, *style.spanish_after]
    elif concept.captions is None:
        wordings = [wording for wording in grammar.WORDINGS if wording != "implicit"]
        phrases += [phrase for each in wordings for phrase in world.things[concept.name].noun_phrases(each)]
    return {word for phrase in phrases for word in _WORD.findall(phrase.casefold())}


def word_prompts(words: Sequence[str], pairs: Sequence[PromptPair], count: int, seed: int) -> list[str]:
    """``count`` prompts: the target prompts of ``pairs`` in turn, each with a word of ``words`` in place of its term.

    ``seed`` draws the words. Pairs without a term, or whose target prompt does not contain it as a whole word, are
    skipped; if all are, the list is empty.
    """
    generator = random.Random(seeds.derive(seed, "vocabulary", "rehearse"))
    sentences = [(pair.target, re.compile(inflected(pair.target_term), re.IGNORECASE)) for pair in pairs]
    sentences = [(target, term) for target, term in sentences if term.search(target)]
    if not sentences or not words:
        return []
    return [
        term.sub(generator.choice(words), target)
        for target, term in (sentences[index % len(sentences)] for index in range(count))
    ]
