"""``ear push-to-hub``."""

import shlex
from typing import Annotated

import typer

from ear.commands.inputs import adapter_files, load_model, open_dataset
from ear.commands.options import AdapterOption, DatasetArguments, EvaluationArguments, FidelityArguments
from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import JsonOption
from ecgvf.core import console
from ecgvf.core.pytorch import import_pytorch


@grouped
def push_to_hub(
    *,
    repo: Annotated[str, typer.Option(help="Model repository: OWNER/NAME.")],
    adapter: AdapterOption = None,
    source: DatasetArguments,
    measuring: EvaluationArguments,
    paper: FidelityArguments,
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository public.", show_default="private")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish an adapter on the Hugging Face Hub, with a card of its figures.

    What has not been measured yet is measured first, as by ear eval with the same options.
    """
    import_pytorch()
    from ear.evaluation import check_settings, evaluate
    from ear.publish import check_publishable, is_local, push
    from ecgvf.publish.repository import account_to_write

    settings = measuring.settings(paper)
    store, dataset = open_dataset(source)
    files = adapter_files(store, dataset, adapter)
    check_publishable(files, repo)
    check_settings(dataset, settings)
    account_to_write()  # before minutes of measuring: the Hub answers, and knows the token
    evaluation = evaluate(store, load_model(source, dataset), dataset, files, settings)
    commit = push(evaluation, repo, public=public)
    model = f" --model {console.escape(shlex.quote(evaluation.model))}" if is_local(evaluation.model) else ""
    console.print_result(
        {"repo": repo, "commit": commit, "adapter": [*map(str, files)], "concept": dataset.concept.name},
        f"Published: [bold]{console.escape(repo)}[/bold], commit {commit[:8]}",
        f"Use it: [bold]ear generate --adapter hub:{console.escape(repo)}{model} --prompt …[/bold]",
    )
