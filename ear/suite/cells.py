"""The cells of a suite: one adapter each, trained and measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ear.evaluation.settings import Figures
from ear.suite.spec import SuiteSpec

ORACLE = "oracle"
"""In place of a recipe: a model trained without the concept (``SuiteSpec.oracles``)."""


@dataclass(frozen=True)
class Cell:
    """An adapter to train and measure, or a submission or an oracle to measure.

    Its fields are part of its key on disk (``Suite.key``): another field makes every finished cell unfinished.
    """

    concept: str
    recipe: str
    """A recipe, the name of a submission, or ``ORACLE``."""
    run_seed: int
    training_seed: int
    figures: Figures = "default"

    @property
    def seeds(self) -> tuple[int, int]:
        """(run seed, training seed)."""
        return self.run_seed, self.training_seed

    @property
    def name(self) -> str:
        """The name of its file."""
        name = f"{self.concept}-{self.recipe}-r{self.run_seed}-t{self.training_seed}"
        return name if self.figures == "default" else f"{name}-{self.figures}"


def cells_of(spec: SuiteSpec, concept: str, recipe: str, *, images: bool = False) -> list[Cell]:
    """The cells of a concept and recipe; the last has the full figures, if the suite asks for them.

    ``images``: the recipe is a submission of images, which cannot have the full figures. The concept's oracle, if it
    has one, and a recipe of ``first_cell_only`` are a single cell.
    """
    if recipe == ORACLE:
        return [Cell(concept, ORACLE, spec.run_seeds[0], spec.training_seeds[0])] if concept in spec.oracles else []
    cells = [Cell(concept, recipe, *seeds) for seeds in spec.seeds(recipe)]
    full = spec.figures == "full" and not images and recipe not in spec.first_cell_only
    return [*cells, replace(cells[0], figures="full")] if full else cells


def in_order(spec: SuiteSpec, cells: Sequence[Cell]) -> list[Cell]:
    """Sort cells as they are measured: the first seeds of every concept and recipe, further seeds, the full figures."""
    seeds = list(dict.fromkeys(pair for recipe in spec.recipes for pair in spec.seeds(recipe)))
    seeds.sort(key=lambda pair: pair[1] != spec.training_seeds[0])
    return sorted(cells, key=lambda cell: (cell.figures == "full", seeds.index((cell.run_seed, cell.training_seed))))
