"""Options that several commands of ``ear`` share."""

from pathlib import Path
from typing import Annotated

import typer

DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset", help="ecgvf/CONCEPT, a file, or OWNER/REPO/CONCEPT@v1.0.0. [default: the last concept's]"
    ),
]
SetOption = Annotated[
    str | None, typer.Option("--set", help="Start of an acceptance set's fingerprint. [default: the current set]")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Name, folder or Hub id. [default: the model that rendered the dataset]")
]
DtypeOption = Annotated[str, typer.Option("--dtype", help="auto, float32, bfloat16 or float16.")]
AdapterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter", help="File, folder or name of a run; repeat to stack. [default: the newest for the dataset]"
    ),
]
PromptsOption = Annotated[
    int | None,
    typer.Option(
        "--prompts-per-concept",
        help="Prompts of the concept, and of each retained one. [default: 64, and 8 of each retained one]",
    ),
]
OthersOption = Annotated[
    int | None, typer.Option("--prompts-per-other", help="Prompts of each retained concept, if the number differs.")
]
FamilyOption = Annotated[
    str | None, typer.Option("--family", help="Only retained concepts of this family: building, animal, …")
]
EvaluationSeedOption = Annotated[int, typer.Option("--seed", help="Evaluation seed, independent of filtering.")]
JudgeOption = Annotated[
    str | None,
    typer.Option(
        "--judge", help="Judge of the concept. [default: nano's other judge for nano's images, else the filter's]"
    ),
]
WeightsOption = Annotated[
    str | None, typer.Option("--weights", help="Weights of that judge: a file, folder or Hub id. [default: its own]")
]
SheetOption = Annotated[
    Path | None, typer.Option("--sheet", help="PNG file of the contact sheet. [default: beside the adapter]")
]
