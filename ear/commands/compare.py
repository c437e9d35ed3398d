"""``ear compare``."""

from typing import Annotated

import typer

from ear.commands.inputs import adapter_files, open_dataset
from ear.commands.options import (
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


@app.command()
def compare(
    adapter: Annotated[list[str], typer.Argument(help="Files, folders or names of runs.")],
    dataset: DatasetOption = None,
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
    """Measure several adapters on the same prompts and seeds, each alone, and show them side by side."""
    from ear.evaluation import EvaluationSettings, report
    from ear.evaluation import compare as compare_adapters
    from ear.method.runs import STAGE
    from ecgvf.core.stage_set import fingerprint
    from ecgvf.core.store import Store

    console.json_mode(as_json)
    opened = Store(store)
    data, janus = open_dataset(opened, dataset, set_id, model, device, dtype)
    files = adapter_files(opened, f"ecgvf/{data.concept.name}", adapter)
    settings = EvaluationSettings(prompts_per_concept, prompts_per_other, family, seed, judge, weights)
    evaluations = compare_adapters(opened, janus, data, files, settings)
    names = [file.parent.name if file.name == "adapter.safetensors" else file.stem for file in files]
    results = [evaluation.json() for evaluation in evaluations]
    name = f"compare-{fingerprint({'sheet': results})[:8]}.png"
    page = sheet if sheet is not None else opened.folder(data.concept.name, STAGE.name) / name
    report.write_contact_sheet(evaluations, names, page)
    if as_json:
        facts = {"dataset": data.fingerprint, "evaluation_seed": seed}
        console.print_json({**facts, "evaluations": results, "sheet": str(page)})
        return
    console.print(report.table(evaluations, names))
    console.print(f"Contact sheet: {console.escape(str(page))}")
