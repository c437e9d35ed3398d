"""Several concepts in an adapter: their datasets are combined into a dataset that is trained on like any other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from ear.method.facts import all_names
from ecgvf.core.concepts import Concept, name_key
from ecgvf.core.dataset import AcceptedRecord, Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.shard_set import fingerprint

T = TypeVar("T")


def combine(datasets: Sequence[Dataset]) -> Dataset:
    """Take pairs of all ``datasets`` in turn, for a concept "a+b" with the terms, surrogates and neighbours of each.

    A concept that any of them erases is not a surrogate, neighbour or retained concept of the others. Raises
    ``DatasetError`` for datasets of different models or sampling, for the same concept twice, for a style together with
    another kind of concept, and if the first surrogate of a concept, or that of a training pair, is erased as well.
    """
    first, *others = datasets
    if not others:
        return first
    for other in others:
        if (other.renderer, other.sampling) != (first.renderer, first.sampling):
            raise DatasetError(
                f"the images of {first.concept.name!r} and {other.concept.name!r} are of different models or sampling: "
                "render both alike"
            )
    concepts = [dataset.concept for dataset in datasets]
    names = [concept.name for concept in concepts]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DatasetError(f"--dataset names {twice!r} twice")
    # Styles have a guidance and tuned layers of their own (``Recipe.style_guidance``), and other retained concepts.
    styles = [concept.name for concept in concepts if concept.kind == "style"]
    if styles and len(styles) < len(concepts):
        no_style = next(name for name in names if name not in styles)
        raise DatasetError(
            f"{styles[0]!r} is a style and {no_style!r} is not, and one adapter trains both alike: train an adapter of "
            "each, and stack them with --adapter A --adapter B"
        )
    erased = set[str]().union(*map(all_names, concepts))
    for dataset in datasets:
        also_erased = [concept for concept in concepts if concept is not dataset.concept]
        of_pairs = [record.pair.surrogate_term for record in dataset.train]
        for surrogate in dict.fromkeys([dataset.concept.surrogates[0], *filter(None, of_pairs)]):
            if any(_named_in(concept, surrogate) for concept in also_erased):
                raise DatasetError(
                    f"{dataset.concept.name!r} is to become {surrogate!r}, which is erased as well: name another first "
                    "surrogate in its concept file, and generate its pairs with --surrogates single"
                )
    return replace(
        first,
        concept=_merged(concepts, erased),
        fingerprint=fingerprint({"datasets": [dataset.fingerprint for dataset in datasets]}),
        train=_by_turns([dataset.train for dataset in datasets]),
        validation=_by_turns([dataset.validation for dataset in datasets]),
        test=_by_turns([dataset.test for dataset in datasets]),
        retain=None if all(each.retain is None for each in datasets) else _retained(datasets, erased),
        openings=(),
    )


def pairs_in_all(datasets: Sequence[Dataset], each: int) -> int:
    """Number of pairs to train on, for a training on up to ``each`` pairs of each dataset: those that come first in the
    combined dataset. A single dataset keeps ``each``."""
    if len(datasets) == 1:
        return each
    return max(1, sum(min(each, len(dataset.train)) for dataset in datasets))


def _named_in(concept: Concept, text: str) -> bool:
    """Whether ``text`` is a name of ``concept``, or contains one of its terms."""
    contained = concept.term_in(text) is not None or concept.unseen_in(text) is not None
    return contained or name_key(text) in all_names(concept)


def _merged(concepts: Sequence[Concept], erased: set[str]) -> Concept:
    kinds = {concept.kind for concept in concepts}

    def kept(words: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(word for word in words if name_key(word) not in erased))

    def merged(labels: Sequence[Mapping[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
        label_sets = dict.fromkeys(chain.from_iterable(labels))
        return {name: tuple(chain.from_iterable(each.get(name, ()) for each in labels)) for name in label_sets}

    accepted = merged([concept.judge_labels for concept in concepts])
    near = merged([concept.near_labels for concept in concepts])
    # A copy is not validated again: "+" is allowed in such names only.
    return concepts[0].model_copy(
        update={
            "name": "+".join(concept.name for concept in concepts),
            "kind": kinds.pop() if len(kinds) == 1 else "object",
            "description": " ".join(concept.description for concept in concepts),
            "terms": tuple(chain.from_iterable(concept.terms for concept in concepts)),
            "unseen_terms": tuple(chain.from_iterable(concept.unseen_terms for concept in concepts)),
            "surrogates": kept(chain.from_iterable(concept.surrogates for concept in concepts)),
            "neighbours": kept(chain.from_iterable(concept.neighbours for concept in concepts)),
            "judge_labels": accepted,
            "near_labels": {
                name: tuple(label for label in labels if label not in accepted.get(name, ()))
                for name, labels in near.items()
            },
            "unsafe": any(concept.unsafe for concept in concepts),
        }
    )


def _retained(datasets: Sequence[Dataset], erased: set[str]) -> tuple[AcceptedRecord, ...]:
    records = chain.from_iterable(dataset.retain or () for dataset in datasets)
    return tuple(record for record in records if name_key(str(record.pair.retained_concept)) not in erased)


def _by_turns(columns: Sequence[Sequence[T]]) -> tuple[T, ...]:
    """The first item of each column, then the second of each, until all are taken."""
    longest = max(map(len, columns))
    return tuple(column[index] for index in range(longest) for column in columns if index < len(column))
