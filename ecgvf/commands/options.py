"""Options that several commands share, so that they read the same everywhere.

A dataclass groups the options that belong together; ``grouping.grouped`` shows each of its fields as an option.
"""

from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import ecgvf
from ecgvf.core import console
from ecgvf.core.errors import SettingsError
from ecgvf.core.files import open_path
from ecgvf.world.domain import NANO

if TYPE_CHECKING:
    from ecgvf.engine import Engine
    from ecgvf.filter import Bounds
    from ecgvf.judges import JudgeOptions

StoreOption = Annotated[
    Path | None,
    typer.Option(
        parser=open_path,
        metavar="PATH",
        help="Folder of the store; for pairs, images and verdicts also s3://BUCKET/FOLDER.",
        show_default="$ECGVF_STORE, or ./ecgvf-store",
    ),
]
ConceptOption = Annotated[
    str | None,
    typer.Option(help="A concept of the store.", show_default="the last concept generated, imported or built"),
]
NewConceptOption = Annotated[
    str | None,
    typer.Option(
        help="A shipped concept, or the path of a YAML file.",
        show_default="the last concept generated, imported or built",
    ),
]
SetOption = Annotated[
    str | None,
    typer.Option(
        "--set",
        help="Set to use: its fingerprint, or the start of it (`ecgvf status` lists them).",
        show_default="the current set",
    ),
]
COLUMN = "Column that holds the prompts, if the file has several candidates or an unusual name. Repeatable."
"""Help of ``--column``."""
CLIP_MODEL = "CLIP model: a folder or a Hub id."
"""Help of ``--clip``."""
MODELS = "janus-nano, janus-pro-1b, janus-pro-7b, a folder, or a Hub id"
"""What a model may be, in help texts."""
ModelOption = Annotated[str, typer.Option(help=f"{MODELS}.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DtypeOption = Annotated[str, typer.Option(help="float32, bfloat16, float16, or auto.")]
RegistryOption = Annotated[
    Path | None,
    typer.Option(
        help="YAML file with writers of your own; they override the shipped ones.",
        show_default="$ECGVF_WRITERS, or none",
    ),
]
TemplatesOption = Annotated[
    Path | None, typer.Option("--templates", help="Folder with templates of your own.", show_default="the shipped ones")
]
RawControlTokensOption = Annotated[
    bool,
    typer.Option(
        "--raw-control-tokens",
        help="Let the model obey control tokens in prompts, instead of reading them as text.",
    ),
]
NoImagesOption = Annotated[
    bool, typer.Option("--no-images", help="Leave out the images, but not the prompts and image tokens.")
]


def _json_mode(ctx: typer.Context, on: bool) -> bool:
    on = on or (ctx.parent is not None and bool(ctx.parent.params.get("as_json")))  # `concepts --json list`
    console.json_mode(on)
    return on


JsonOption = Annotated[
    bool, typer.Option("--json", callback=_json_mode, help="Print one JSON object on standard output.")
]
"""Switches ``console`` to JSON mode, so that a command only has to call ``console.print_result``."""


def version_option(program: str) -> Any:
    """``--version``, which prints the version of ``program`` and exits."""

    def show(on: bool) -> None:
        if on:
            console.print(f"{program} {ecgvf.__version__}")
            raise typer.Exit

    return typer.Option("--version", callback=show, is_eager=True, help="Print the version.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderArguments:
    """The model and how it renders; the fields are keywords of ``Run.render`` and ``Run.build``."""

    model: ModelOption = NANO
    guidance: Annotated[
        float | None, typer.Option(help="Scale of classifier-free guidance; 1 is none.", show_default="the model's own")
    ] = None
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0
    batch_size: Annotated[
        int | None,
        typer.Option(help="Images to render at once.", show_default="by the model's size, or the GPU's memory"),
    ] = None
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineArguments:
    """Where the workers are."""

    engine: Annotated[
        str,
        typer.Option(
            help="Place to run: local (every visible GPU, else the CPU), ray (the cluster of RAY_ADDRESS or "
            "`ray start`, else a new cluster on this machine), or ray://HOST:PORT."
        ),
    ] = "local"
    max_workers: Annotated[
        int | None, typer.Option(help="Maximum number of workers at once.", show_default="as many as there is room for")
    ] = None
    min_workers: Annotated[
        int | None,
        typer.Option(help="With Ray: number of workers to wait for before the first shard.", show_default="1"),
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            help="With Ray: GPUs of each worker; 0.5 lets two workers share a GPU.", show_default="1, if there are any"
        ),
    ] = None
    retries: Annotated[
        int | None,
        typer.Option(help="With Ray: retries of a shard whose worker died.", show_default="3"),
    ] = None

    def create(self, device: str) -> "Engine":
        """The engine of these options. Raises ``SettingsError``."""
        from ecgvf.engine import local_engine

        if self.engine == "ray" or self.engine.startswith("ray://"):
            from ecgvf.engine.cluster import RayEngine

            given: dict[str, Any] = {
                "gpus_per_worker": self.gpus_per_worker,
                "min_workers": self.min_workers,
                "max_workers": self.max_workers,
                "retries": self.retries,
            }
            address = None if self.engine == "ray" else self.engine
            return RayEngine(address, **{name: value for name, value in given.items() if value is not None})
        if self.engine != "local":
            raise SettingsError(f"--engine {self.engine}: use local, ray, or ray://HOST:PORT")
        if (self.min_workers, self.gpus_per_worker, self.retries) != (None, None, None):
            raise SettingsError("--min-workers, --gpus-per-worker and --retries are for --engine ray")
        if self.max_workers is not None and self.max_workers < 1:
            raise SettingsError(f"--max-workers {self.max_workers}: it must be at least 1")
        return local_engine(device, max_workers=self.max_workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeArguments:
    """The judge, and when it sees the concept."""

    judge: Annotated[
        str | None,
        typer.Option(
            help="nano-object-a, nano-object-b, nano-object-c, nano-style, nano-style-b, nano-sky, nano-ground, "
            "nano-companion, resnet50, torchvision:NAME, timm:NAME, hf:ID, style, nudenet, clip, or several joined "
            "by +.",
            show_default="by model and kind of concept",
        ),
    ] = None
    labels: Annotated[
        str | None,
        typer.Option(help="Labels that mean the concept, separated by commas.", show_default="the concept's"),
    ] = None
    label_set: Annotated[
        str | None,
        typer.Option(
            help="Name of a label set in the concept's file, such as nudenet-strict.", show_default="the judge's"
        ),
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option(help="Number of best labels of which one must be the concept's.", show_default="1; style 3"),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Minimum score, 0 to 1, to see the concept.", show_default="nudenet 0.25, clip 0.5, others none"
        ),
    ] = None
    weights: Annotated[
        str | None,
        typer.Option(
            help="Weights: V1 or V2 (resnet50), a file, a folder, or a Hub id. For several judges NAME=WEIGHTS, with "
            "commas; resnet50 may be among them, as it judges retained concepts that the judge has no label for.",
            show_default="the judge's own",
        ),
    ] = None
    text: Annotated[list[str] | None, typer.Option(help="For clip: a text that describes the concept. Repeatable.")] = (
        None
    )
    contrast: Annotated[
        list[str] | None, typer.Option(help="For clip: a text that describes an alternative. Repeatable.")
    ] = None
    combine: Annotated[
        str, typer.Option(help="Judges that must see the concept, of several: all, any, or majority.")
    ] = "all"

    def options(self) -> "JudgeOptions":
        """The options for ``create_judge``."""
        from ecgvf.judges import JudgeOptions

        options = asdict(self)
        del options["judge"]
        if self.labels is not None:
            options["labels"] = tuple(part.strip() for part in self.labels.split(",") if part.strip())
        for name in ("text", "contrast"):
            options[name] = tuple(options[name]) if options[name] else None
        return JudgeOptions(**options)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundsArguments:
    """What a pair must satisfy beyond the accept rule; all off by default."""

    seeds: Annotated[int, typer.Option(help="Number of seeds to render each prompt from.")] = 1
    share: Annotated[
        float,
        typer.Option(
            help="Minimum share of the seeds, above 0 and at most 1, with which a pair must pass the accept rule."
        ),
    ] = 1.0
    clip_floor: Annotated[
        float | None,
        typer.Option(help="Minimum CLIP cosine similarity, -1 to 1, of an image and its prompt.", show_default="off"),
    ] = None
    clip: Annotated[
        str | None,
        typer.Option(help=f"For --clip-floor. {CLIP_MODEL}", show_default="openai/clip-vit-base-patch32"),
    ] = None
    most_change: Annotated[
        float | None,
        typer.Option(help="Maximum difference, 0 to 1, of a pair's images outside the concept.", show_default="off"),
    ] = None

    def bounds(self) -> "Bounds":
        """The bounds for ``filter_images``."""
        from ecgvf.filter import Bounds

        return Bounds(**asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterArguments:
    """Who writes the pairs, and how much that may cost."""

    writers: Annotated[
        str | None,
        typer.Option(
            help="LLMs by name, separated by commas (gpt,claude), called without asking; paper: those of the paper; or "
            "offline.",
            show_default="every family with a key, else offline",
        ),
    ] = None
    writer_url: Annotated[str | None, typer.Option(help="Base URL of your own OpenAI-compatible server.")] = None
    writer_model: Annotated[str | None, typer.Option(help="Model to request from --writer-url.")] = None
    budget_usd: Annotated[float, typer.Option(help="Maximum cost of this run, in US dollars.")] = 5.0
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before paying LLMs that --writers does not name.")] = (
        False
    )
    templates: TemplatesOption = None
    registry: RegistryOption = None
    surrogates: Annotated[
        Literal["single", "per-term", "free"],
        typer.Option(
            metavar="SURROGATES",
            help="Choice of what replaces the concept in surrogate prompts. single: its first surrogate; per-term: one "
            "for each term; free: any. A single surrogate teaches the model what to draw instead; with several it "
            "learns an average.",
        ),
    ] = "single"

    @property
    def budget(self) -> Decimal:
        """``budget_usd``, exactly as typed."""
        return Decimal(str(self.budget_usd))
