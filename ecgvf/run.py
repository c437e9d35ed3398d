"""The public API: one concept in one store, and every stage as a method.

    run = ecgvf.Run("church")
    run.generate()              # pairs for training, validation and test
    run.render()                # images of both prompts of each pair, from one seed
    run.filter()                # verdicts and accepted pairs
    dataset = run.dataset()     # what ``ear.train`` takes

Each method resumes what was interrupted, and returns at once if its set is finished. Heavy libraries are imported by
the method or the stage that needs them.
"""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Self

import ecgvf.build
from ecgvf.core import concepts, console
from ecgvf.core.concepts import Concept, SurrogateChoice
from ecgvf.core.errors import DatasetError, SettingsError
from ecgvf.core.pytorch import import_pytorch
from ecgvf.core.records import Split
from ecgvf.core.run import ConceptRun
from ecgvf.core.sampling import check_sampling
from ecgvf.core.seeds import check_seed
from ecgvf.core.stage_set import StageSet
from ecgvf.core.store import Store
from ecgvf.filter import filter_images
from ecgvf.filter.dataset import load_dataset
from ecgvf.pairs.neighbours import neighbour_warnings
from ecgvf.status import stage_summaries
from ecgvf.world.domain import NANO

if TYPE_CHECKING:
    from ecgvf.engine import Engine
    from ecgvf.janus import JanusModel
    from ecgvf.llm.registry import LLMWriter
    from ecgvf.pairs.importing import ImportResult
    from ecgvf.publish.parquet import DatasetFiles
    from ecgvf.render import RenderResult


class Run(ConceptRun):
    """One concept in one store.

    ``concept``: a ``Concept``, the path of a YAML file, or a name: the concept as the store keeps it, else the shipped
    one. None is the concept that was generated, imported or built last in the store.
    ``store``: a folder; None is ``$ECGVF_STORE``, or ``./ecgvf-store``.

    Raises ``ConceptError`` for an unknown concept, ``StageMissing`` for None in an empty store, ``StoreError``.
    """

    def __init__(self, concept: Concept | str | Path | None = None, store: Store | str | Path | None = None) -> None:
        opened = Store.of(store)
        if not isinstance(concept, Concept):
            name = None if concept is None else str(concept)
            concept = opened.concept(name) if name is None or name in opened.concepts() else concepts.find(name)
        super().__init__(opened, concept)

    @classmethod
    def load(cls, concept: str | None = None, store: Store | str | Path | None = None) -> Self:
        """The run of ``concept`` (None: the last one) as ``store`` keeps it. Raises ``StageMissing``."""
        opened = Store.of(store)
        return cls(opened.concept(concept), opened)

    @classmethod
    def from_definition(cls, concept: str | None = None, store: Store | str | Path | None = None) -> Self:
        """The run of a concept as it ships, or as its YAML file is now; None is the last one as ``store`` keeps it.

        Warns of a neighbour that nobody knows, if Janus-nano renders the concept.
        """
        if concept is not None:
            defined = concepts.find(concept)
            for warning in neighbour_warnings(defined):
                console.warn(warning)
            return cls(defined, store)
        opened = Store.of(store)
        return cls.load(opened.last_concept("name a concept with --concept: `ecgvf concepts` lists them"), opened)

    # These take the run as their first argument, and import nothing heavy.
    filter = filter_images
    build = ecgvf.build.build
    dataset = load_dataset
    status = stage_summaries

    def generate(
        self,
        *,
        pairs: int | None = None,
        validation: int | None = None,
        tests: int | None = None,
        retained: int | None = None,
        split: Split | None = None,
        surrogates: SurrogateChoice = "single",
        seed: int = 0,
    ) -> StageSet:
        """Write training pairs, validation and test prompts with the offline writer: 60, 100 and 100 if None.

        ``split`` writes only that split and keeps the others of the current set. ``"retain"``, which is written only if
        named, takes ``retained`` of the five shipped captions of each concept that must stay (None: all); Janus-nano
        needs none. ``surrogates`` says what replaces the concept: its first surrogate ("single"), one for each of its
        terms ("per-term"), or any ("free"). ``seed`` is the offline writer's.

        Returns the set of ``PromptPair``. Raises ``WriterError`` for a concept outside nano's world, ``SettingsError``
        for a number out of range or of prompts that are not written, ``StoreError``.
        """
        from ecgvf.pairs.generate import generate_pairs, write_captions
        from ecgvf.pairs.offline import OfflineWriter
        from ecgvf.pairs.splits import COUNT_NAMES, check_split

        if split is not None:
            check_split(split)
        parameters = {"pairs": pairs, "validation": validation, "tests": tests, "retained": retained}
        counts = {name: number for name, number in parameters.items() if number is not None}
        allowed = ["pairs", "validation", "tests"] if split is None else [COUNT_NAMES[split]]
        for name, number in counts.items():
            if name not in allowed:
                raise SettingsError(f"{name} {number}: not written with split={split!r}; leave it out")
        if split == "retain":
            return write_captions(self, **counts)
        return generate_pairs(self, **counts, split=split, seed=seed, writer=OfflineWriter(surrogates))

    def generate_with_llms(
        self,
        writers: "str | Sequence[LLMWriter]",
        *,
        split: Split = "train",
        count: int | None = None,
        iterations: int | None = None,
        surrogates: SurrogateChoice = "single",
        templates: str | Path | None = None,
        batch: bool = False,
        fresh: bool = False,
        budget_usd: Decimal | float = 5,
    ) -> StageSet:
        """Let LLMs write ``count`` pairs in each of ``iterations`` calls, or, with another ``split``, its prompts.

        ``writers``: names such as "gpt,claude", or ``[ecgvf.Registry().own_server(url, model)]``. Calls are sent
        without asking, within ``budget_usd``; answered ones are never paid again, unless ``fresh``. ``batch`` uses the
        batch endpoints. ``count`` is 10 pairs a call, 100 prompts of "validation" or "test", or 5 of each concept that
        must stay ("retain"), and ``iterations`` is 3, unless given. ``surrogates`` as in ``generate``. ``templates`` is
        a folder in the layout of ``prompts_templates/`` (None: the shipped ones).

        Raises ``WriterError`` without a key or a usable answer, ``SettingsError``, ``TemplateError``, and
        ``StoreError`` if another process is sending calls for this concept.
        """
        from ecgvf.llm.registry import Registry, check_keys
        from ecgvf.pairs.generation_plan import plan_generation
        from ecgvf.pairs.llm_writers import generate_with_llms

        selected = Registry().select(writers) if isinstance(writers, str) else writers
        if not selected:
            raise SettingsError("no LLM writer: pass names such as 'gpt,claude', or a list from ecgvf.Registry")
        check_keys(selected)
        plans = plan_generation(
            self.concept,
            selected,
            split=split,
            count=count,
            iterations=iterations,
            surrogate_choice=surrogates,
            templates=None if templates is None else Path(templates),
            batch=batch,
        )
        return generate_with_llms(self, plans, budget_usd=Decimal(str(budget_usd)), fresh=fresh)

    def render(
        self,
        *,
        model: "str | JanusModel" = NANO,
        guidance: float | None = None,
        temperature: float | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        device: str = "auto",
        dtype: str = "auto",
        raw_control_tokens: bool = False,
        set_id: str | None = None,
        engine: "Engine | None" = None,
    ) -> "RenderResult":
        """Render both prompts of each pair from one seed, by default on every visible GPU.

        ``model`` is a name, a folder or a Hub id, or a loaded model, which renders in this process and must be as it
        was loaded: no fields replaced, no adapter active. ``guidance``, ``temperature`` and ``batch_size`` None are the
        model's own; ``raw_control_tokens`` lets the model obey control tokens that a prompt spells. ``seed`` is the
        run's: with the record it decides the seed of each image. ``device`` is "auto", "cpu", "cuda" or "cuda:N",
        ``dtype`` "auto", "float32", "bfloat16" or "float16". ``set_id`` is the start of a pairs set's fingerprint.
        ``engine`` says where the workers are, such as ``ecgvf.engine.cluster.RayEngine()``.

        Raises ``StageMissing`` without pairs, ``ModelError``, ``ConceptError`` for a concept that nano cannot render,
        ``SettingsError`` for a value out of range.
        """
        check_seed(seed)
        check_sampling(guidance, temperature)
        import_pytorch()
        from ecgvf.render import RenderOptions, render

        options = RenderOptions(
            model=model,
            guidance=guidance,
            temperature=temperature,
            seed=seed,
            batch_size=batch_size,
            device=device,
            dtype=dtype,
            raw_control_tokens=raw_control_tokens,
        )
        return render(self, options, set_id=set_id, engine=engine)

    def import_pairs(
        self, file: str | Path, *, columns: Sequence[str] = (), only: str | None = None, licence: str | None = None
    ) -> "ImportResult":
        """Import pairs or prompts as a pairs set, from text, CSV, TSV, JSON, JSONL, Parquet, or ``hub:OWNER/NAME``.

        ``columns`` name the columns to read if there is a choice; ``only`` is the category of the rows to take;
        ``licence``, the file's, is kept with the pairs. Raises ``DatasetError`` for a file that has no prompts of this
        concept, and ``HubError``.
        """
        from ecgvf.core.hub import HubName
        from ecgvf.pairs.hub_table import read_hub_table
        from ecgvf.pairs.importing import import_pairs
        from ecgvf.pairs.tables import read_table

        on_hub = str(file).startswith("hub:")
        table = read_hub_table(HubName.parse(str(file)), columns) if on_hub else read_table(Path(file), columns)
        return import_pairs(self, table, only=only, licence=licence)

    def export(self, out: str | Path, *, images: bool = True, set_id: str | None = None) -> "DatasetFiles":
        """Write the dataset to a folder that ``datasets.load_dataset`` loads: Parquet, card, Croissant.

        ``images`` False leaves out the images. ``set_id`` is the start of an acceptance set's fingerprint. Raises
        ``DatasetError`` for a folder with other files, for the current folder and for a URL, and as ``dataset`` does.
        """
        from ecgvf.publish.export import export

        if "://" in str(out):
            raise DatasetError(f"{out} is not on this machine's disk: name a new folder with --out, and copy it there")
        return export(self, Path(out), images=images, set_id=set_id)

    def push_to_hub(
        self,
        repo: str | None = None,
        *,
        version: str | None = None,
        public: bool = False,
        unsafe_known: bool = False,
        images: bool = True,
        set_id: str | None = None,
    ) -> str:
        """Publish the dataset on the Hub as a version of ``repo`` (None: ``<account>/ecgvf``).

        A new repository is private unless ``public``. ``version`` None is the next minor version. ``images`` and
        ``set_id`` as in ``export``. The same content again uploads nothing. Returns the dataset's name for ``ear``,
        OWNER/REPO/CONCEPT@vX.Y.Z. Raises ``HubError``, and ``SettingsError`` for an unsafe concept that would be public
        without ``unsafe_known``.
        """
        from ecgvf.publish.push import prepare, upload

        with prepare(
            self, repo, version=version, public=public, unsafe_known=unsafe_known, images=images, set_id=set_id
        ) as plan:
            if not plan.nothing_to_do:
                upload(plan)
            return plan.dataset
