"""The training pairs of an ablation's variants: of each kind equally many."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ear.ablation.factors import DATA_FACTORS, TrainingData
from ear.retained_concepts import in_nano_world
from ecgvf import Run
from ecgvf.core import console, seeds
from ecgvf.core.concepts import SurrogateChoice
from ecgvf.core.dataset import AcceptedRecord, Dataset
from ecgvf.core.errors import DatasetError
from ecgvf.core.store import Store
from ecgvf.filter.dataset import load_dataset
from ecgvf.judges import JudgeOptions
from ecgvf.pairs.checks import PromptIndex

WRITTEN = (1.5, 3.0, 6.0)
"""Pairs to write for each pair that is needed, since some are rejected: the next if too few are accepted."""

_SURROGATES: Mapping[TrainingData, SurrogateChoice] = {
    "single": "single",
    "per-term": "per-term",
    "free": "free",
    "unfiltered": "single",
}


@dataclass(frozen=True)
class VariantData:
    """Where the training pairs of the variants come from."""

    dataset: Dataset
    store: Store
    """Its folder ``ablation`` keeps the pairs that are written for variants."""
    pairs: int
    """Training pairs of each variant."""
    device: str = "auto"
    """Where pairs that are written are rendered and judged."""
    dtype: str = "float32"
    """The model's, in which they are rendered."""
    weights: str | None = None
    """Those of the judge that filtered, if not its own."""

    def load(self, data: TrainingData) -> Dataset:
        """The dataset with the training pairs of ``data``, and its own validation and test prompts.

        Raises ``DatasetError`` if there are too few pairs, and outside nano's world if they have to be written, and
        ``JudgeError`` if the dataset's judge cannot be created by its name.
        """
        name = self.dataset.fingerprint if data == "filtered" else f"{self.dataset.fingerprint}-{data}"
        if data == "filtered":
            train = self.dataset.train
        elif data == "one-word targets":
            train = tuple(self._bare(index, record) for index, record in enumerate(self.dataset.train))
        else:
            written = self._written(data)
            train = written.train
            if self.dtype != "float32" or self.weights is not None:  # else the name is what it was before these options
                name = f"{name}-{written.fingerprint}"
        if len(train) < self.pairs:
            raise DatasetError(
                f"the kind {data!r} has only {console.counted(len(train), 'pair')}, and each variant needs "
                f"{self.pairs}: lower --option pairs=N, or use a larger dataset"
            )
        return replace(self.dataset, train=train[: self.pairs], fingerprint=name)

    def _bare(self, index: int, record: AcceptedRecord) -> AcceptedRecord:
        """The pair of the concept's first term and surrogate; training renders its images, from a seed of its own."""
        concept = self.dataset.concept
        seed = seeds.derive(self.dataset.run_seed, str(index), "one-word targets")
        pair = replace(record.pair, target=concept.terms[0], surrogate=concept.surrogates[0])
        images = [replace(each, seed=seed, image=b"", vq_ids=()) for each in (record.target, record.surrogate) if each]
        return AcceptedRecord(pair, images[0], images[1])

    def _written(self, data: TrainingData) -> Dataset:
        """Pairs of the offline writer, rendered and filtered as the dataset's were, without near duplicates of its
        validation and test prompts."""
        if not in_nano_world(self.dataset):
            raise DatasetError(
                f"the offline writer writes the pairs {data!r}, and knows only nano's world: leave out the factors "
                f"{' and '.join(DATA_FACTORS)}"
            )
        for each in WRITTEN:
            found = self._first(round(each * self.pairs), data)
            if len(found.train) >= self.pairs:
                break
        return found

    def _first(self, count: int, data: TrainingData) -> Dataset:
        """Those of the first ``count`` pairs of the offline writer that can be trained on."""
        run = Run(self.dataset.concept, Store(self.store.root / "ablation" / _SURROGATES[data]))
        run.generate(pairs=count, validation=0, tests=0, surrogates=_SURROGATES[data], seed=self.dataset.run_seed)
        sampling = self.dataset.sampling
        options = replace(JudgeOptions.from_recorded(dict(self.dataset.judge_options)), weights=self.weights)
        run.render(
            model=self.dataset.model,
            guidance=sampling.guidance,
            temperature=sampling.temperature,
            seed=self.dataset.run_seed,
            device=self.device,
            dtype=self.dtype,
        )
        run.filter(judge=self.dataset.judge, options=options, device=self.device)
        written = load_dataset(run, unfiltered=data == "unfiltered", images=False)
        held_out = PromptIndex([record.pair.target for record in (*self.dataset.validation, *self.dataset.test)])
        train = tuple(record for record in written.train if held_out.near_duplicate(record.pair.target) is None)
        return replace(written, train=train)
