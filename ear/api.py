"""The Python API of ``ear``: train an adapter that erases a dataset's concept, and evaluate it.

    adapter = ear.train("ecgvf/church")
    print(ear.evaluate("ecgvf/church", adapter))

Arguments that all functions share:

- ``dataset``: an ``ecgvf.Dataset``, or a name as in ear/dataset.py.
- ``store``: a folder, which keeps what is trained and rendered; None: ``$ECGVF_STORE``, or ``./ecgvf-store``.
- ``model``: a name, a folder or a Hub id; None: the model that rendered the dataset.
- ``device``: "auto", "cpu", "cuda" or "cuda:N". ``dtype``: "auto", "float32", "bfloat16" or "float16".

Every error that a caller can cause is an ``EcgvfError`` with a message of one line.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ear.dataset import find_dataset
from ear.evaluation import Evaluation, EvaluationSettings, check_settings
from ear.evaluation import evaluate as evaluate_adapters
from ear.evaluation.fidelity.settings import FidelitySettings
from ear.evaluation.settings import Figures
from ear.method import recipes
from ear.method.erase import erase
from ear.method.recipe import Recipe
from ear.method.recipes import AnyRecipe, PromptRecipe
from ear.method.runs import TrainingRun, find_adapter, is_variant, newest
from ear.method.several import combine
from ecgvf.core.dataset import Dataset
from ecgvf.core.errors import AdapterError, DatasetError, RecipeError
from ecgvf.core.records import EvaluationSplit
from ecgvf.core.seeds import check_seed
from ecgvf.core.store import Store
from ecgvf.janus import load
from ecgvf.judges import Judge

AnyStore = Store | Path | str | None
AdapterLike = TrainingRun | Path | str  # a training run, or its file, folder or name


def load_dataset(
    name: str,
    *,
    store: AnyStore = None,
    set_id: str | None = None,
    model: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> Dataset:
    """Load a dataset from the store, the package, a file or the Hub: its prompts and image tokens, not its images.

    ``set_id``: start of an acceptance set's fingerprint, of 12 hex digits; None: the current set. ``model`` renders the
    prompts of a file without images, in ``dtype``. Raises ``DatasetError``, ``HubError``, ``StageMissing``.
    """
    if not isinstance(name, str | Path):
        raise DatasetError(f"{name!r} is not a dataset: pass an ecgvf.Dataset, or a name such as 'ecgvf/church'")
    return find_dataset(Store.of(store), str(name), set_id, model=model, device=device, dtype=dtype)[0]


def train(
    dataset: Dataset | str | Sequence[Dataset | str],
    recipe: AnyRecipe | str = "default",
    *,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    weights: str | None = None,
    store: AnyStore = None,
    model: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> TrainingRun:
    """Train an adapter, and return the finished run: ``.adapter`` is its file, ``.facts`` has its losses.

    Several datasets make a single adapter that erases the concept of each, from up to ``pairs`` pairs of each.
    ``options`` overrides settings of the recipe, as in ``{"guidance": 0.8}``. ``seed`` decides rollouts, the order of
    the pairs and what is rehearsed. ``weights`` are those of the judge that filtered (None: its own), which looks again
    if a recipe rehearses prompts with other words. An interrupted training resumes from its last checkpoint; a finished
    training is returned as it is. Raises ``AdapterError`` for a checkpoint that cannot be resumed, ``DatasetError``,
    ``HubError``, ``JudgeError``, ``ModelError``, ``RecipeError``, ``SettingsError``, ``StoreError``.
    """
    if not isinstance(recipe, Recipe | PromptRecipe | str):
        raise RecipeError(f"{recipe!r} is not a recipe: pass an ear.Recipe, or one of {', '.join(recipes.RECIPES)}")
    recipe = recipes.find(recipe) if isinstance(recipe, str) else recipe
    if is_variant(recipe.name):
        raise RecipeError(f"recipe {recipe.name}: only `ear ablate` names recipes so: choose a name without -ablation")
    recipe = recipe.with_options(options or {})
    check_seed(seed)
    store = Store.of(store)
    items: Sequence[Dataset | str]
    items = dataset if isinstance(dataset, Sequence) and not isinstance(dataset, str) else [dataset]
    if not items:
        raise DatasetError("there is no dataset to train on: pass at least one")
    datasets = [
        item if isinstance(item, Dataset) else load_dataset(item, store=store, model=model, device=device, dtype=dtype)
        for item in items
    ]
    combine(datasets)  # before a model is loaded: some cannot be erased together
    janus = load(model or datasets[0].model, device=device, dtype=dtype)
    return erase(store, datasets, janus, recipe, [seed], weights=weights)[0]


def evaluate(
    dataset: Dataset | str,
    adapter: AdapterLike | Sequence[AdapterLike] | None = None,
    *,
    prompts_per_concept: int | None = None,
    prompts_per_other: int | None = None,
    family: str | None = None,
    figures: Figures = "default",
    questions: Path | str | None = None,
    fidelity: FidelitySettings | None = None,
    oracle: Path | str | None = None,
    split: EvaluationSplit = "validation",
    seed: int = 0,
    judge: str | Judge | None = None,
    weights: str | None = None,
    store: AnyStore = None,
    model: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> Evaluation:
    """Measure the concept and the retained concepts, before and after erasing.

    - ``adapter``: what ``train`` returned, a file, a folder, a run's name or "hub:OWNER/NAME"; several are stacked.
      None: the newest in the store for the dataset, else, with a note, for its concept.
    - ``prompts_per_concept``: prompts of the concept and of each retained concept (None: 100 and 3).
      ``prompts_per_other``: of each retained concept, if different. ``family``: only retained concepts of this family.
    - ``figures``: "full" adds wordings, guidance, temperature, more seeds, understanding (``questions``: a Parquet
      file) and attacks (``oracle``: folder of a model trained without the concept, which is attacked as well); "paper"
      adds FID, KID and CLIP score (``fidelity``: captions, pictures and encoders).
    - ``split``: "validation", or "test", which is recorded in the store.
    - ``seed``: decides prompts and images, independent of filtering.
    - ``judge``: the concept's, a ``Judge`` or a name with ``weights``. None: the filter's; of nano's images of things
      the other of nano-object-a and -b, of styles nano-style.

    Raises ``AdapterError``, ``DatasetError``, ``HubError``, ``JudgeError``, ``ModelError``, ``SettingsError``.
    """
    settings = EvaluationSettings(
        prompts_per_concept=prompts_per_concept,
        prompts_per_other=prompts_per_other,
        family=family,
        figures=figures,
        questions=None if questions is None else Path(questions),
        fidelity=fidelity,
        oracle=None if oracle is None else Path(oracle),
        split=split,
        seed=seed,
        judge=judge,
        weights=weights,
    )
    store = Store.of(store)
    if not isinstance(dataset, Dataset):
        dataset = load_dataset(dataset, store=store, model=model, device=device, dtype=dtype)
    files = adapter_files(store, dataset, adapter)
    check_settings(dataset, settings)
    janus = load(model or dataset.model, device=device, dtype=dtype)
    return evaluate_adapters(store, janus, dataset, files, settings)


def adapter_files(
    store: Store, dataset: Dataset | None, adapter: AdapterLike | Sequence[AdapterLike] | None
) -> list[Path]:
    """The files of ``adapter``; None: of the ``newest`` in ``store`` for ``dataset``, or for the store's last concept.

    Raises ``AdapterError``, and ``HubError`` for an adapter on the Hub.
    """
    if adapter is None:
        if dataset is None:
            return [
                newest(
                    store, store.last_concept("train an adapter first, as `ear train --dataset ecgvf/church` does")
                ).adapter
            ]
        return [newest(store, dataset.concept.name, dataset.fingerprint).adapter]
    adapters = [adapter] if isinstance(adapter, AdapterLike) else adapter
    if (
        not isinstance(adapters, Sequence)
        or not adapters
        or not all(isinstance(item, AdapterLike) for item in adapters)
    ):
        raise AdapterError(f"{adapter!r} is not an adapter: pass what ear.train returned, a file, or a run's name")
    return [item.adapter if isinstance(item, TrainingRun) else find_adapter(store, str(item)) for item in adapters]
