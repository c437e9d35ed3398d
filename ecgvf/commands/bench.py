"""``bench``: the speed of rendering on this machine."""

from typing import Annotated

import typer

from ecgvf.commands.options import DeviceOption, DtypeOption, JsonOption
from ecgvf.core import console


def bench(
    model: Annotated[str, typer.Option(help="janus-nano, janus-pro-1b, janus-pro-7b, a folder, or a Hub id.")] = (
        "janus-nano"
    ),
    batch_size: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Images rendered at once. Repeatable.", show_default="1, and the model's own"),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each batch size, after a warm-up.")] = 3,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure how fast a model renders here, and which share that is of what this device could do.

    The device's bandwidth (a large copy) and peak (a large matrix product) are measured first. They bound each kernel
    of a batch by the bytes that it moves and the FLOPs that it computes: the roof.
    """
    from ecgvf.janus import load
    from ecgvf.render.bench import measure_speed

    janus = load(model, device=device, dtype=dtype)
    sizes = batch_size or sorted({1, janus.default_batch_size()})
    roofs, speeds = measure_speed(janus, sizes, runs=runs)
    gigabytes, teraflops = roofs.bytes_per_second / 1e9, roofs.flops_per_second / 1e12
    rows = [
        {
            "batch_size": speed.batch_size,
            "images_per_second": round(speed.images_per_second, 3),
            "ms_per_token": round(speed.ms_per_token, 3),
            "share_of_roof": round(speed.share_of_roof, 3),
            "peak_memory_gb": round(speed.peak_memory / 1e9, 3),
        }
        for speed in speeds
    ]
    dtype_name = str(janus.dtype).removeprefix("torch.")
    console.print_result(
        {
            "model": janus.name,
            "device": str(janus.device),
            "dtype": dtype_name,
            "gb_per_second": round(gigabytes, 1),
            "tflops": round(teraflops, 3),
            "runs": runs,
            "speeds": rows,
        },
        f"[bold]{console.escape(janus.name)}[/bold] on {janus.device} in {dtype_name}, "
        f"{gigabytes:.1f} GB/s, {teraflops:.2f} TFLOP/s",
        *(
            f"  batch {row['batch_size']:>3}: {row['images_per_second']:.2f} images/s, {row['ms_per_token']:.2f} ms a "
            f"token, {row['share_of_roof']:.0%} of the roof, {row['peak_memory_gb']:.1f} GB of memory at most"
            for row in rows
        ),
    )
