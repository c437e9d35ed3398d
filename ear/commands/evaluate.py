"""``ear eval``."""

from dataclasses import replace

from ear.commands.inputs import adapter_files, command_on, load_model, open_dataset, results_folder
from ear.commands.options import (
    AdapterOption,
    DatasetArguments,
    EvaluationArguments,
    FidelityArguments,
    OutcomesOption,
    SheetOption,
)
from ecgvf.commands.grouping import grouped, to_argv
from ecgvf.commands.options import JsonOption
from ecgvf.core import console
from ecgvf.core.pytorch import import_pytorch


@grouped
def evaluate(
    *,
    source: DatasetArguments,
    adapter: AdapterOption = None,
    measuring: EvaluationArguments,
    paper: FidelityArguments,
    outcomes: OutcomesOption = None,
    sheet: SheetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the concept before and after erasing, what stands in its place, and what the retained concepts lost.

    `ear report` writes the results as a page.
    """
    import_pytorch()
    from ear.evaluation import check_settings
    from ear.evaluation import evaluate as evaluate_adapters
    from ear.evaluation.result import LAST_EVALUATION
    from ear.evaluation.table import evaluation_table
    from ecgvf.commands.results import next_command
    from ecgvf.core.files import is_remote

    settings = measuring.settings(paper)
    store, dataset = open_dataset(source)
    files = adapter_files(store, dataset, adapter)
    check_settings(dataset, settings)
    evaluation = evaluate_adapters(store, load_model(source, dataset), dataset, files, settings)
    command = command_on("eval", source, dataset, adapter, files)
    evaluation = replace(evaluation, command=(*command, *to_argv(measuring, paper)))
    results = results_folder(store, dataset.concept.name, files)
    page = evaluation.save_contact_sheet(sheet if sheet is not None else results / "sheet.png")
    evaluation.save(results / LAST_EVALUATION, images=False)
    paths = {"sheet": str(page)}
    if evaluation.attacked:
        paths["attack_sheet"] = str(evaluation.save_attack_sheet(page.with_name(f"{page.stem}-attacks.png")))
    if outcomes is not None:
        paths["outcomes"] = str(evaluation.save(outcomes))
    labels = {"sheet": "Contact sheet", "attack_sheet": "Contact sheet of the attacks", "outcomes": "Outcomes"}
    facts = {"dataset": dataset.fingerprint, "evaluation_seed": measuring.seed}
    console.print_result(
        {**facts, **evaluation.json(), **paths},
        evaluation_table([evaluation], ["after"]),
        *([evaluation.attack_table()] if evaluation.attacked else []),
        *(f"{labels[name]}: {console.escape(path)}" for name, path in paths.items()),
        *([] if is_remote(store.root) else [next_command("ear report", store=source.store)]),
    )
