"""``ear export``."""

from pathlib import Path
from typing import Annotated

import typer

from ear.commands.inputs import adapter_files_of
from ear.commands.options import AdapterOption, DatasetOption, model_option
from ecgvf.commands.options import DeviceOption, DtypeOption, JsonOption, StoreOption
from ecgvf.core import console
from ecgvf.core.pytorch import import_pytorch


def export(
    *,
    merged: Annotated[Path, typer.Option(help="New folder for the whole tuned model.")],
    adapter: AdapterOption = None,
    dataset: DatasetOption = None,
    model: Annotated[str | None, model_option("the adapter's")] = None,
    store: StoreOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Merge an adapter into its model: a folder that from_pretrained loads without this package."""
    import_pytorch()
    from ear.method.merge import check_mergeable, check_new, export_merged
    from ear.method.open_adapter import adapter_facts
    from ecgvf.core.store import Store
    from ecgvf.janus import load

    check_new(merged)
    files = adapter_files_of(Store(store), dataset, adapter)
    check_mergeable(files)
    janus = load(model or str(adapter_facts(files[0])["model"]), device=device, dtype=dtype)
    export_merged(janus, files, merged)
    console.print_result(
        {"adapter": [*map(str, files)], "model": janus.name, "merged": str(merged)},
        f"Merged model: {console.escape(str(merged))}",
    )
