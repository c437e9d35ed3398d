"""``writers``: the LLMs that can write pairs."""

from ecgvf.commands.options import JsonOption, RegistryOption
from ecgvf.core import console


def list_writers(registry: RegistryOption = None, as_json: JsonOption = False) -> None:
    """List the LLMs that can write pairs: model, price, limits, and whether their key is set."""
    from ecgvf.llm.registry import Registry

    known = Registry.from_environment(registry)
    worst, rows = known.unknown_price, []
    table = console.table("writer\nmodel\nbase URL", "key", "$ per 1M in / out\nper minute\nstructure", show_lines=True)
    for writer in known.all():
        config = writer.config
        facts = {"name": writer.name, "key_set": writer.ready, "priced": writer.priced}
        rows.append(facts | config.model_dump(mode="json"))
        price = f"{writer.rates.input} / {writer.rates.output}" if writer.priced else "unknown"
        key = "none needed" if config.key is None else f"{config.key}\n{'set' if writer.ready else 'missing'}"
        limits = f"{config.requests_per_minute} calls, {config.tokens_per_minute} tokens"
        lines = (f"{writer.name}\n{config.model}\n{config.base_url}", key, f"{price}\n{limits}\n{config.structure}")
        table.add_row(*map(console.escape, lines))
    ready = ", ".join(writer.name for writer in known.ready())
    console.print_result(
        {"writers": rows, "unknown_price": worst.model_dump(mode="json")},
        table,
        f"An unknown price counts as ${worst.input} / ${worst.output} per million tokens, the worst case.",
        f"[bold]ecgvf generate[/bold] calls {ready}, after you have confirmed the cost."
        if ready
        else "No key of the default writers is set: [bold]ecgvf generate[/bold] takes the offline writer.",
    )
