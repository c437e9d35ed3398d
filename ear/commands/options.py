"""Options that several commands of ``ear`` share; a dataclass groups those that belong together."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ecgvf.commands.options import CLIP_MODEL, COLUMN, MODELS, DeviceOption, DtypeOption, SetOption, StoreOption

if TYPE_CHECKING:
    from ear.evaluation import EvaluationSettings
    from ear.evaluation.fidelity.settings import FidelitySettings


def model_option(default: str) -> Any:
    """``--model``, which may be left out: the help text says that it is ``default`` then."""
    return typer.Option(help=f"{MODELS}.", show_default=default)


def adapter_option(default: str) -> Any:
    """``--adapter``, likewise."""
    return typer.Option(help="File, folder, name of a run, or hub:OWNER/NAME. Repeat to stack.", show_default=default)


def local_store(folder: str) -> Path:
    """The folder of ``--store`` of a suite. Raises ``SettingsError`` for object storage."""
    return _local("--store", folder)


def local_out(folder: str) -> Path:
    """``local_store`` for ``--out``."""
    return _local("--out", folder)


def _local(option: str, folder: str) -> Path:
    from ecgvf.core.errors import SettingsError

    if "://" in folder:
        raise SettingsError(f"{option} {folder}: it must be a local folder")
    path = Path(folder)
    existing = next(each for each in (path, *path.parents) if each.exists())
    if not existing.is_dir():  # before anything is trained
        raise SettingsError(f"{option} {folder}: {existing} is a file, not a folder")
    return path


def png_file(file: str) -> Path:
    """``file`` of an option that is written as PNG. Raises ``SettingsError`` for another suffix, and for a folder."""
    return _file_to_write(file, ".png", "a PNG file")


def parquet_file(file: str) -> Path:
    """``png_file`` for Parquet."""
    return _file_to_write(file, ".parquet", "a Parquet file")


def html_file(file: str) -> Path:
    """``png_file`` for HTML."""
    return _file_to_write(file, ".html", "an HTML file")


def _file_to_write(file: str, suffix: str, content: str) -> Path:
    from ecgvf.core.errors import SettingsError

    path = Path(file)
    if path.suffix.lower() != suffix:  # before anything is measured, and so that no other file is overwritten
        raise SettingsError(f"{file} will be {content}: end its name in {suffix}")
    if path.is_dir():
        raise SettingsError(f"{file} is a folder: name a file in it")
    return path


DatasetOption = Annotated[
    str | None,
    typer.Option(
        help="ecgvf/CONCEPT, a file, or OWNER/REPO/CONCEPT@v1.0.0.",
        show_default="the last concept's",
    ),
]
ModelOption = Annotated[str | None, model_option("the model that rendered the dataset")]
AdapterOption = Annotated[list[str] | None, adapter_option("the newest for the dataset")]
OracleOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a model trained without the concept, to attack under the same budgets.",
        show_default="none: not measured",
    ),
]
SplitOption = Annotated[
    Literal["validation", "test"],
    typer.Option(metavar="SPLIT", help="Split to measure on: validation, or test, which is recorded."),
]
SheetOption = Annotated[
    Path | None,
    typer.Option(
        parser=png_file,
        metavar="PATH",
        help="PNG file of the contact sheet.",
        show_default="beside the adapter, in the store",
    ),
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(help=f"For --prompts. {COLUMN}", show_default=False),
]
JudgeOption = Annotated[
    str | None,
    typer.Option(
        help="Judge of the concept, by name; `ecgvf judge --help` lists them.",
        show_default="of nano's images nano-object-b for things (nano-object-a if b filtered), nano-style for styles; "
        "else the filter's, such as resnet50, style, nudenet",
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(help="Weights of the --judge: a file, folder or Hub id.", show_default="its own"),
]
OutcomesOption = Annotated[
    Path | None,
    typer.Option(
        parser=parquet_file, metavar="PATH", help="Write a Parquet file with a row per image.", show_default=False
    ),
]

DEFAULT_RECIPE = "on-policy"
"""The name of ``recipes.DEFAULT``, for help texts: importing it takes longer than ``--help`` may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetArguments:
    """A dataset, and the model that rendered it."""

    dataset: DatasetOption = None
    model: ModelOption = None
    store: StoreOption = None
    set_id: SetOption = None
    device: DeviceOption = "auto"
    dtype: DtypeOption = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringArguments:
    """What to measure of the default figures, and by which judge."""

    prompts_per_concept: Annotated[
        int | None,
        typer.Option(
            help="Number of prompts of the concept and, without --prompts-per-other, of each retained concept.",
            show_default="100, and 3 of each retained concept",
        ),
    ] = None
    prompts_per_other: Annotated[int | None, typer.Option(help="Number of prompts of each retained concept.")] = None
    family: Annotated[
        str | None,
        typer.Option(
            help="Only retained concepts of this family, such as building; outside nano's world, thing or style.",
            show_default="all",
        ),
    ] = None
    split: SplitOption = "validation"
    seed: Annotated[int, typer.Option(help="Evaluation seed, independent of filtering.")] = 0
    judge: JudgeOption = None
    weights: WeightsOption = None

    def settings(self, fidelity: "FidelityArguments | None" = None) -> "EvaluationSettings":
        """The settings for ``evaluate``."""
        from ear.evaluation import EvaluationSettings

        return EvaluationSettings(**asdict(self), fidelity=fidelity.settings() if fidelity is not None else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationArguments(MeasuringArguments):
    """What to measure, and by which judge."""

    figures: Annotated[
        Literal["default", "full", "paper"],
        typer.Option(
            metavar="FIGURES",
            help="Figures to measure: default; full, with wordings, guidance, temperature, more seeds, understanding "
            "and attacks; or paper, with FID, KID and CLIP score. Both can be interrupted and resumed.",
        ),
    ] = "default"
    questions: Annotated[
        Path | None,
        typer.Option(
            help="Parquet file of yes/no questions for --figures full: image, question, answer, about, kind.",
            show_default="nano's own for nano, else none",
        ),
    ] = None
    oracle: OracleOption = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelityArguments:
    """Options of ``--figures paper``."""

    coco: Annotated[
        Path | None,
        typer.Option(
            help="With --figures paper: file of captions and the ids of their pictures, such as coco_30k.csv.",
            show_default="nano's 256 drawings for nano",
        ),
    ] = None
    coco_images: Annotated[
        Path | None, typer.Option(help="With --coco: folder of the pictures, named by id (val2014).")
    ] = None
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="With --coco: column that holds the captions, if the file has several candidates or an unusual name. "
            "Repeatable.",
            show_default=False,
        ),
    ] = None
    captions: Annotated[
        int | None, typer.Option(help="With --figures paper: number of captions.", show_default="all")
    ] = None
    inception: Annotated[
        Path | None,
        typer.Option(
            help="With --figures paper: weights of Inception-v3, in torch-fidelity's or torchvision's layout.",
            show_default="nano's for nano; required with --coco",
        ),
    ] = None
    clip: Annotated[
        str | None,
        typer.Option(
            help=f"For --figures paper. {CLIP_MODEL}",
            show_default="openai/clip-vit-base-patch32; nano's for nano",
        ),
    ] = None
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published", help="With --figures paper: repeat the protocol of the paper's released scripts."
        ),
    ] = False

    def settings(self) -> "FidelitySettings":
        """The settings of the paper's figures."""
        from ear.evaluation.fidelity.settings import FidelitySettings

        return FidelitySettings(**asdict(self) | {"column": tuple(self.column or ())})


def parse_options(texts: Sequence[str]) -> dict[str, str]:
    """Setting → value, as text, from SETTING=VALUE. Raises ``RecipeError`` for other text."""
    from ecgvf.core.errors import RecipeError

    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"--option {text!r}: write SETTING=VALUE, such as guidance=0.8")
        options[name.strip()] = value.strip()
    return options


def parse_seeds(text: str) -> list[int]:
    """The distinct seeds in comma-separated ``text`` of ``--seeds``. Raises ``SettingsError`` as ``check_seed``."""
    from ecgvf.core.errors import SettingsError
    from ecgvf.core.seeds import check_seed

    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(f"--seeds {text!r}: write whole numbers with commas, such as 0,1,2") from None
    return list(dict.fromkeys(check_seed(seed, "--seeds") for seed in seeds))
