"""A submitted method: an adapter, or images of the evaluation prompts."""

import csv
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ear.evaluation import Evaluation, EvaluationSettings, evaluate
from ear.evaluation.evaluation import evaluate_images, evaluation_prompts
from ear.evaluation.open_split import open_split
from ear.evaluation.submitted_images import SubmittedImages
from ear.method.open_adapter import adapter_facts, check_concept, files_hash
from ear.method.recipes import RECIPES
from ear.method.runs import FILES
from ear.prompt_images import INDEX
from ear.suite.leaderboard import REFERENCES
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import DatasetError, SettingsError
from ecgvf.core.files import write_atomic
from ecgvf.core.store import Store
from ecgvf.janus import JanusModel


@dataclass(frozen=True)
class Submission:
    """A method's folder for a concept, with ``index.parquet`` and images, or an adapter."""

    name: str
    folder: Path

    @property
    def has_images(self) -> bool:
        """True for images and for an empty folder, False for an adapter."""
        return self._adapter is None

    @cached_property
    def hash(self) -> str:
        """16 hex digits: a hash of its files."""
        files = [self._adapter] if self._adapter is not None else sorted(self.folder.rglob("*"))
        return files_hash(file for file in files if file.is_file())

    def check(self, concept: str) -> None:
        """Raise ``AdapterError`` for an adapter that erases other concepts than ``concept``, or is none."""
        if self._adapter is not None:
            check_concept(str(adapter_facts(self._adapter)["concept"]).split("+"), concept, self._adapter)

    def evaluate(
        self, store: Store, model: JanusModel, dataset: Dataset, settings: EvaluationSettings, prompts: Path
    ) -> Evaluation:
        """Measure the method. For images, write the id, prompt and seed of each to ``prompts``/CONCEPT.csv first.

        To hand out test prompts opens the test split, even if no image is there yet.

        Raises ``DatasetError`` for a folder with neither images nor an adapter, and as ``evaluate`` and
        ``SubmittedImages`` do.
        """
        if self._adapter is not None:
            return evaluate(store, model, dataset, [self._adapter], settings)
        file = prompts / f"{dataset.concept.name}.csv"
        rendered = (self.folder / INDEX).is_file()
        if not rendered:
            open_split(store, dataset, settings.split, self.hash, self.name)
        write_prompts(dataset, settings, file)
        if not rendered:
            raise DatasetError(
                f"{self.folder} has neither {INDEX} nor an adapter: render {file}, each prompt from its seed, as "
                f"`ear generate --prompts {file} --out {self.folder}` does"
            )
        images = SubmittedImages(self.name, self.folder, dataset.concept, self.hash)
        return evaluate_images(store, model, dataset, images, settings)

    @property
    def _adapter(self) -> Path | None:
        if (self.folder / INDEX).is_file():
            return None
        files = (self.folder, *(self.folder / name for name in FILES))
        return next((file for file in files if file.is_file()), None)


def write_prompts(dataset: Dataset, settings: EvaluationSettings, file: Path) -> None:
    """Write the evaluation prompts as CSV: id, prompt, seed."""
    output = io.StringIO()
    rows = csv.writer(output, lineterminator="\n")
    rows.writerow(("id", "prompt", "seed"))
    rows.writerows((each.id, each.prompt, each.seed) for each in evaluation_prompts(dataset, settings))
    write_atomic(file, output.getvalue().encode())


def parse_submissions(texts: list[str], taken: tuple[str, ...]) -> dict[str, Path]:
    """Name → folder, from NAME=DIR.

    Raises ``SettingsError`` for other text, a folder that does not exist, and a name that is ``taken`` or a recipe's,
    which would be mistaken for the recipe.
    """
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not equals or not folder or not name.replace("-", "").replace("_", "").isalnum():
            raise SettingsError(f"--submit {text!r}: write NAME=DIR, with letters, digits, - and _ in the name")
        if name in (*taken, *REFERENCES, *RECIPES, "default") or name in found:
            raise SettingsError(f"--submit {name}: a method of the table or a recipe has this name, choose another")
        if not Path(folder).is_dir():
            raise SettingsError(f"--submit {text}: there is no folder {folder}")
        found[name] = Path(folder)
    return found
