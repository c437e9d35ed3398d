"""How commands let users choose who writes, and what that may cost."""

from pathlib import Path
from typing import Annotated

import typer

RegistryOption = Annotated[
    Path | None,
    typer.Option(
        "--registry", envvar="ECGVF_WRITERS", help="Your own YAML of writers, over the shipped ones. [default: none]"
    ),
]
WritersOption = Annotated[
    str | None,
    typer.Option(
        "--writers",
        help="gpt,claude,…; paper; or offline. [default: every family whose key is set, else offline]",
    ),
]
WriterUrlOption = Annotated[
    str | None, typer.Option("--writer-url", help="A server of your own, compatible with OpenAI's.")
]
WriterModelOption = Annotated[
    str | None, typer.Option("--writer-model", help="The model that this server is asked for.")
]
BudgetOption = Annotated[float, typer.Option("--budget-usd", help="The most that this run may cost, in US dollars.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask before paying.")]
TemplatesOption = Annotated[
    Path | None, typer.Option("--templates", help="A folder of your own templates. [default: the shipped ones]")
]
