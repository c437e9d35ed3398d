"""Options that several commands of ``ear`` take, so that they read the same everywhere."""

from typing import Annotated

import typer

DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset", help="ecgvf/CONCEPT, a file, or OWNER/REPO/CONCEPT@v1.0.0. [default: the last one built]"
    ),
]
SetOption = Annotated[
    str | None, typer.Option("--set", help="Start of an acceptance set's fingerprint. [default: the current set]")
]
ModelOption = Annotated[str | None, typer.Option("--model", help="[default: the model that drew the dataset]")]
AdapterOption = Annotated[
    list[str] | None,
    typer.Option("--adapter", help="A file, or a run's name; repeat to stack. [default: the newest for the dataset]"),
]
PromptsOption = Annotated[
    int | None,
    typer.Option(
        "--prompts-per-concept",
        help="Of the concept, and of each other one. [default: 64 of the concept, 8 of each other]",
    ),
]
OthersOption = Annotated[
    int | None, typer.Option("--prompts-per-other", help="Of each other one, where it is to differ.")
]
FamilyOption = Annotated[str | None, typer.Option("--family", help="Others of this family only: building, animal, …")]
MeasuredSeedOption = Annotated[int, typer.Option("--seed", help="Of the measured pictures; never those of the filter.")]
DtypeOption = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")]
MeasuringOption = Annotated[
    str | None,
    typer.Option(
        "--judge",
        help="What looks for the concept. [default: nano's other judge in nano's world, else the one that filtered]",
    ),
]
WeightsOption = Annotated[
    str | None, typer.Option("--weights", help="Of that judge: a file, a folder or a Hub id. [default: its own]")
]
