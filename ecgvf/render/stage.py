"""Render the prompts of a pairs set, shard by shard.

An image depends on model, prompt, seed and sampling. Batches are fixed slices of a shard in record order; their size
and the thread count are recorded with the set and reused on resume, so that equal shapes give exactly equal token ids.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from ecgvf.core.concepts import Concept
from ecgvf.core.errors import ConceptError, SettingsError
from ecgvf.core.files import JSON
from ecgvf.core.records import PromptPair
from ecgvf.core.run import ConceptRun
from ecgvf.core.stage_set import IMAGES, PAIRS, StageSet
from ecgvf.engine import Engine, FillPlan, Setup, ThisProcess, local_engine
from ecgvf.janus import JanusModel, absolute_name, load
from ecgvf.render.batches import ImageWorker, image_fill_plan
from ecgvf.render.tasks import RenderShards, rendering_table
from ecgvf.world.domain import NANO

SHARD_RECORDS = 32

_NOT_IN_SETTINGS = ("rewrite", "negative_prompt", "padding_masked", "suffix_ids")
"""Fields of a ``JanusModel`` that change its images, but not the fingerprint of an image set."""


@dataclass(frozen=True, slots=True)
class RenderResult:
    """A finished image set."""

    images: StageSet
    rendered: int
    """Images that this run rendered; 0 if all existed."""


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """How to render. ``guidance``, ``temperature`` and ``batch_size`` default to the model's own."""

    model: str | JanusModel = NANO
    """A name, a folder, a Hub id, or a model that is loaded already, which has its own ``device``, ``dtype`` and
    ``raw_control_tokens``. It must be as it was loaded: other fields are refused, but not other modules, so render
    outside ``adapter.active(model)``."""
    guidance: float | None = None
    temperature: float | None = None
    seed: int = 0
    batch_size: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    raw_control_tokens: bool = False
    """Whether the model obeys control tokens that a prompt spells; otherwise they are text."""
    further_seed: int = 0
    """How many seeds after its first a record is rendered from (``render_tasks``)."""

    def setup(self, concept: Concept) -> Setup:
        """The setup that opens an ``ImageWorker``. Raises as ``check_renderer`` does."""
        check_renderer(concept, self.model, self.batch_size)
        model = self.model if isinstance(self.model, JanusModel) else absolute_name(self.model)
        return partial(
            open_image_worker,
            model,
            guidance=self.guidance,
            temperature=self.temperature,
            device=self.device,
            dtype=self.dtype,
            raw_control_tokens=self.raw_control_tokens,
        )

    def image_set(self, run: ConceptRun, pairs: StageSet, facts: JSON) -> StageSet:
        """The image set of ``pairs`` by workers with these ``facts`` (``ImageWorker.description``)."""
        settings = {
            "pairs": pairs.fingerprint,
            "model": facts["name"],
            "renderer": facts["renderer"],
            "dtype": facts["dtype"],
            "sampling": facts["sampling"],
            "seed": self.seed + self.further_seed,
            "shard_records": SHARD_RECORDS,
        }
        if facts["raw_control_tokens"]:
            settings["raw_control_tokens"] = True
        # The run's seed does not decide the images of a record that has its own.
        if self.further_seed and any(pair.seed is not None for pair in pairs.records(PromptPair) if not pair.reason):
            settings["further_seed"] = self.further_seed
        return run.stage_set(IMAGES, settings)

    def fill_plan(self, images: StageSet, pairs: StageSet) -> FillPlan:
        """The plan to fill ``images`` by the worker of the setup ``IMAGES.name``."""
        shards = RenderShards(pairs.read(), SHARD_RECORDS, self.seed, self.further_seed)
        return image_fill_plan(
            IMAGES.name,
            images,
            shards.tasks,
            shards.sizes(),
            description="rendering",
            batch_size=self.batch_size,
            **({"further_seed": True} if self.further_seed else {}),
        )


@contextmanager
def open_image_worker(
    model: str | JanusModel, *, guidance: float | None, temperature: float | None, **loading: Any
) -> Iterator[ImageWorker]:
    """The worker of ``render``; ``loading`` are options of ``ecgvf.janus.load``."""
    janus = model if isinstance(model, JanusModel) else load(model, **loading)
    yield ImageWorker(janus, janus.sampling.override(guidance, temperature), rendering_table)


def render(
    run: ConceptRun,
    options: RenderOptions = RenderOptions(),
    *,
    set_id: str | None = None,
    current: bool = True,
    engine: Engine | None = None,
) -> RenderResult:
    """Render the images of the current pairs set, or of the one whose fingerprint starts with ``set_id``.

    With ``current`` False, the current image set stays as it is. ``engine`` None is ``local_engine``; a loaded model
    renders in this process. A record that fails gets a ``Rendering`` with a ``failure``. Raises ``StageMissing``
    without pairs, ``EngineError``, as ``check_renderer`` does, and ``ModelError`` and ``HubError`` as
    ``ecgvf.janus.load`` does.
    """
    pairs = run.open(PAIRS, set_id)
    setup = options.setup(run.concept)
    if isinstance(options.model, JanusModel):
        engine = ThisProcess()
    with (engine or local_engine(options.device)).open({IMAGES.name: setup}) as pool:
        images = options.image_set(run, pairs, pool.describe(IMAGES.name).facts)
        [rendered] = pool.fill(options.fill_plan(images, pairs))
    finish_images(images, current=current)
    return RenderResult(images, rendered)


def finish_images(images: StageSet, *, current: bool = True) -> None:
    """Finish a set whose shards are all there; a finished one only becomes current. With ``current`` False, the current
    image set stays as it is."""
    images.finish(partial(_summary, images), current=current)


def check_renderer(concept: Concept, model: str | JanusModel, batch_size: int | None) -> None:
    """Raise ``ConceptError`` if janus-nano cannot render the concept, ``SettingsError`` for a batch size below 1, or a
    model with other fields than it was loaded with."""
    if batch_size is not None and batch_size < 1:
        raise SettingsError(f"--batch-size {batch_size}: it must be at least 1")
    if isinstance(model, JanusModel):
        for field in _NOT_IN_SETTINGS:
            if getattr(model, field) != getattr(JanusModel, field):
                raise SettingsError(
                    f"{model.name} has another {field} than it was loaded with, which is no setting of an image set: "
                    "pass the model as it was loaded"
                )
    name = model.name if isinstance(model, JanusModel) else model
    if name == NANO and not concept.labels("nano"):
        raise ConceptError(
            f"janus-nano cannot render {concept.name!r}, which has no judge_labels of nano: use --model janus-pro-1b "
            "(of `ecgvf render`, `ecgvf build`), or a concept of nano's world (church, castle, cat, van-gogh); if "
            "yours is in it, add the label to its file"
        )


def _summary(images: StageSet) -> dict[str, Any]:
    reasons = images.read_column("failure")
    failures = Counter(reason for reason in reasons if reason is not None)
    return {"pictures": len(reasons), "failed": failures.total(), "failures": dict(failures.most_common(3))}
