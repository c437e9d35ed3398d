"""How many prompts, in how many distinct phrases, the offline writer writes of each class and split.

    python -m benchmarks.splits --pairs 60 --evaluation 600

Prints a Markdown row per concept and class for docs/decisions/0012-splits.md. Nothing is rendered. The last line of
standard output is JSON: ``pairs``, ``evaluation``, ``rows`` and ``met``, which is null: there is no goal.
"""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.result import finish, program
from ecgvf.core.concepts import find
from ecgvf.core.records import WORDINGS, PromptPair, Split, Wording
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store
from ecgvf.pairs.generate import generate_pairs
from ecgvf.pairs.offline import find_candidates, phrases_of

CONCEPTS = ("church", "castle", "cat", "van-gogh")
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def counts(name: str, pairs: int, evaluation: int) -> Counter[tuple[Split, Wording | None]]:
    """(split, class) → prompts that stage 1 accepts."""
    with tempfile.TemporaryDirectory() as folder:
        written = generate_pairs(
            ConceptRun(Store(folder), find(name)), pairs=pairs, validation=evaluation, tests=evaluation
        )
        return Counter((row.split, row.wording) for row in written.records(PromptPair) if row.reason is None)


def distinct(name: str, split: Split) -> dict[Wording, int]:
    """Class → distinct words for the concept; of the class ``unseen_form``, distinct word orders."""
    concept = find(name)
    found = [phrases_of(concept, target, split) for target in find_candidates(concept).targets]
    return {
        wording: sum(
            len(each[wording].orders if wording == "unseen_form" else each[wording].phrases)
            for each in found
            if wording in each
        )
        for wording in WORDINGS
    }


def main(
    pairs: Annotated[int, typer.Option(help="Training pairs.")] = 60,
    evaluation: Annotated[int, typer.Option(help="Validation prompts, and as many test prompts.")] = 600,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for the result.")] = None,
) -> None:
    """Print the table."""
    rows = []
    print(f"| concept | class | {' | '.join(SPLITS)} |\n|---|---|{'---|' * len(SPLITS)}")
    for name in CONCEPTS:
        prompts = counts(name, pairs, evaluation)
        phrases = {split: distinct(name, split) for split in SPLITS}
        for wording in WORDINGS:
            found = {split: (prompts[split, wording], phrases[split][wording]) for split in SPLITS}
            cells = [f"{written} in {different}" for written, different in found.values()]
            print(f"| {name} | {wording} | {' | '.join(cells)} |")
            rows += [
                {"concept": name, "class": wording, "split": split, "prompts": written, "phrases": different}
                for split, (written, different) in found.items()
            ]
    finish({"pairs": pairs, "evaluation": evaluation, "rows": rows, "met": None}, out)


app = program(main)

if __name__ == "__main__":
    app()
