"""``bench``: the speed of rendering on this machine."""

from typing import TYPE_CHECKING, Annotated

import typer

from ecgvf.commands.options import DeviceOption, DtypeOption, JsonOption, ModelOption
from ecgvf.core import console
from ecgvf.core.pytorch import import_pytorch
from ecgvf.world.domain import NANO

if TYPE_CHECKING:
    from ecgvf.render.bench import RenderSpeed


def bench(
    model: ModelOption = NANO,
    batch_size: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Images rendered at once. Repeatable.", show_default="1, and the model's own"),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each batch size, after a warm-up.")] = 3,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure the rendering speed of a model on this device, and its share of what the device could do.

    The device's bandwidth (of a large copy) and peak (of a large matrix product) are measured first.

    The roofline is the least time that these two allow for each kernel, given the bytes it moves and the FLOPs it
    computes.
    """
    import_pytorch()
    from ecgvf.janus import load
    from ecgvf.render.bench import measure_speed

    janus = load(model, device=device, dtype=dtype)
    sizes = batch_size or sorted({1, janus.default_batch_size()})
    roofs, speeds = measure_speed(janus, sizes, runs=runs)
    facts = {
        "model": janus.name,
        "device": str(janus.device),
        "dtype": janus.dtype_name,
        "gb_per_second": round(roofs.bytes_per_second / 1e9, 1),
        "tflops": round(roofs.flops_per_second / 1e12, 3),
        "runs": runs,
        "speeds": [_row(speed) for speed in speeds],
    }
    console.print_result(
        facts,
        f"[bold]{console.escape(janus.name)}[/bold] on {facts['device']} in {facts['dtype']}, "
        f"{facts['gb_per_second']} GB/s, {facts['tflops']:.2f} TFLOP/s",
        *map(_line, speeds),
    )


def _row(speed: "RenderSpeed") -> dict[str, float]:
    return {
        "batch_size": speed.batch_size,
        "images_per_second": round(speed.images_per_second, 3),
        "ms_per_token": round(speed.ms_per_token, 3),
        "share_of_roof": round(speed.share_of_roof, 3),
        "peak_memory_gb": round(speed.peak_memory / 1e9, 3),
    }


def _line(speed: "RenderSpeed") -> str:
    return (
        f"  batch {speed.batch_size:>3}: {speed.images_per_second:.2f} images/s, {speed.ms_per_token:.2f} ms a token, "
        f"{speed.share_of_roof:.0%} of the roofline, {speed.peak_memory / 1e9:.1f} GB of memory at most"
    )
