"""``ear eval``."""

import typer

from ear.commands.inputs import adapter_files, open_dataset
from ear.commands.options import (
    AdapterOption,
    DatasetOption,
    DtypeOption,
    EvaluationSeedOption,
    FamilyOption,
    JudgeOption,
    ModelOption,
    OthersOption,
    PromptsOption,
    SetOption,
    SheetOption,
    WeightsOption,
)
from ecgvf.commands.options import DeviceOption, JsonOption, StoreOption
from ecgvf.core import console

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)


@app.command("eval")
def evaluate(
    dataset: DatasetOption = None,
    adapter: AdapterOption = None,
    prompts_per_concept: PromptsOption = None,
    prompts_per_other: OthersOption = None,
    family: FamilyOption = None,
    seed: EvaluationSeedOption = 0,
    judge: JudgeOption = None,
    weights: WeightsOption = None,
    sheet: SheetOption = None,
    model: ModelOption = None,
    store: StoreOption = None,
    set_id: SetOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure the concept before and after erasing, and what the retained concepts lost."""
    from ear.evaluation import EvaluationSettings, report
    from ear.evaluation import evaluate as evaluate_adapters
    from ecgvf.core.store import Store

    console.json_mode(as_json)
    opened = Store(store)
    data, janus = open_dataset(opened, dataset, set_id, model, device, dtype)
    files = adapter_files(opened, f"ecgvf/{data.concept.name}", adapter)
    settings = EvaluationSettings(prompts_per_concept, prompts_per_other, family, seed, judge, weights)
    evaluation = evaluate_adapters(opened, janus, data, files, settings)
    page = evaluation.contact_sheet(sheet if sheet is not None else files[-1].with_name("sheet.png"))
    if as_json:
        facts = {"dataset": data.fingerprint, "evaluation_seed": seed}
        console.print_json({**facts, **evaluation.json(), "sheet": str(page)})
        return
    console.print(report.table([evaluation], ["after"]))
    console.print(f"Contact sheet: {console.escape(str(page))}")
