"""Options that several commands take, so that they read the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Folder of the runs. [default: $ECGVF_STORE, or ./ecgvf-store]")
]
ConceptOption = Annotated[
    str | None, typer.Option("--concept", help="A concept of the store. [default: the last one generated]")
]
NewConceptOption = Annotated[
    str | None,
    typer.Option("--concept", help="A shipped concept, or a YAML file's path. [default: the last one generated]"),
]
SetOption = Annotated[
    str | None, typer.Option("--set", help="Start of a set's fingerprint. [default: the current set]")
]
ModelOption = Annotated[str, typer.Option(help="janus-nano, janus-pro-1b, janus-pro-7b, a folder, or a Hub id.")]
GuidanceOption = Annotated[float | None, typer.Option(help="Classifier-free guidance. [default: the model's own]")]
BatchSizeOption = Annotated[int, typer.Option(help="Pictures drawn at once.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
