"""``ear compare``."""

from typing import Annotated

import typer

from ear.commands.inputs import adapter_files, open_dataset
from ear.commands.options import DatasetArguments, EvaluationArguments, SheetOption
from ecgvf.commands.grouping import grouped
from ecgvf.commands.options import JsonOption
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command()
@grouped
def compare(
    *,
    adapter: Annotated[list[str], typer.Argument(help="Files, folders or names of runs.")],
    source: DatasetArguments,
    measuring: EvaluationArguments,
    sheet: SheetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure several adapters on the same prompts and seeds, each alone, and show them side by side."""
    from ear.evaluation import compare as compare_adapters
    from ear.evaluation import report
    from ear.method.runs import STAGE
    from ecgvf.core.shard_set import fingerprint
    from ecgvf.core.store import Store

    console.json_mode(as_json)
    settings = measuring.settings()
    store = Store(source.store)
    dataset, model = open_dataset(store, source)
    files = adapter_files(store, f"ecgvf/{dataset.concept.name}", adapter)
    evaluations = compare_adapters(store, model, dataset, files, settings)
    names = [file.parent.name if file.name == "adapter.safetensors" else file.stem for file in files]
    results = [evaluation.json() for evaluation in evaluations]
    name = f"compare-{fingerprint({'sheet': results})[:8]}.png"
    page = sheet if sheet is not None else store.folder(dataset.concept.name, STAGE.name) / name
    report.write_contact_sheet(evaluations, names, page)
    if as_json:
        facts = {"dataset": dataset.fingerprint, "evaluation_seed": measuring.seed}
        console.print_json({**facts, "evaluations": results, "sheet": str(page)})
        return
    console.print(report.table(evaluations, names))
    console.print(f"Contact sheet: {console.escape(str(page))}")
