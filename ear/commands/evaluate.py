"""``eval``: the concept before and after erasing, and what the rest of the model's world lost."""

from pathlib import Path
from typing import Annotated

import typer

from ear.commands.measuring import counts, print_table
from ear.commands.opening import adapter_files, open_dataset
from ear.commands.options import (
    AdapterOption,
    DatasetOption,
    DtypeOption,
    FamilyOption,
    MeasuredSeedOption,
    MeasuringOption,
    ModelOption,
    OthersOption,
    PromptsOption,
    SetOption,
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
    seed: MeasuredSeedOption = 0,
    judge: MeasuringOption = None,
    weights: WeightsOption = None,
    sheet: Annotated[Path | None, typer.Option("--sheet", help="PNG file. [default: beside the adapter]")] = None,
    model: ModelOption = None,
    store: StoreOption = None,
    chosen: SetOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure the concept before and after erasing, and what the rest of the model's world lost."""
    from ear.evaluation import evaluate as measure
    from ear.evaluation import write_contact_sheet
    from ecgvf.core.store import Store

    console.json_mode(as_json)
    opened = Store(store)
    data, janus = open_dataset(opened, dataset, chosen, model, device, dtype)
    files = adapter_files(opened, f"ecgvf/{data.concept.name}", adapter)
    concept_count, other_count = counts(prompts_per_concept, prompts_per_other)
    result = measure(
        opened,
        janus,
        data,
        files,
        concept_count=concept_count,
        other_count=other_count,
        family=family,
        seed=seed,
        judge=judge,
        weights=weights,
    )
    page = write_contact_sheet([result], ["erased"], sheet if sheet is not None else files[-1].with_name("sheet.png"))
    if as_json:
        console.print_json({"dataset": data.fingerprint, "evaluation_seed": seed, **result.json(), "sheet": str(page)})
        return
    print_table([result], ["after"])
    console.print(f"Contact sheet: {console.escape(str(page))}")
