"""``export``, ``push-to-hub``, ``versions``, ``diff``, ``import``: the dataset leaves the store, and pairs enter it.

Parse, call, print. Heavy libraries are imported inside the commands that need them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecgvf.commands.options import ConceptOption, JsonOption, SetOption, StoreOption
from ecgvf.core import console

if TYPE_CHECKING:
    from ecgvf.publish.published import Published
    from ecgvf.publish.push import Plan

app = typer.Typer(cls=console.CommandGroup, pretty_exceptions_enable=False)

SHOWN = 10
"""Records of one kind that ``diff`` prints."""

NoImagesOption = Annotated[
    bool, typer.Option("--no-images", help="Leave the pictures out; prompts and image tokens stay.")
]


@app.command()
def export(
    concept: ConceptOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="A new folder. [default: ./ecgvf-CONCEPT]")] = None,
    no_images: NoImagesOption = False,
    chosen: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the dataset to a folder that `datasets.load_dataset` loads: Parquet, card, Croissant. No network."""
    from ecgvf.core.run import ConceptRun
    from ecgvf.core.store import Store
    from ecgvf.publish.export import export as write

    console.json_mode(as_json)
    run = ConceptRun.load(Store(store), concept)
    name = run.concept.name
    content = write(run, out or Path(f"ecgvf-{name}"), images=not no_images, chosen=chosen)
    facts = content.facts
    if as_json:
        told = {"concept": name, "path": str(content.folder), "files": content.files}
        console.print_json({**told, "fingerprint": facts.fingerprint, "counts": facts.counts})
        return
    counts = facts.counts
    console.print(
        f"[bold]{name}[/bold]: {counts['train']} pairs and {counts['test']} test prompts, {counts['rejected']} "
        f"rejected ones beside them, fingerprint {facts.fingerprint}."
    )
    console.print(f"Wrote {console.escape(str(content.folder))}. Next: [bold]ecgvf push-to-hub[/bold]")


@app.command("push-to-hub")
def push_to_hub(
    concept: ConceptOption = None,
    repo: Annotated[str | None, typer.Option("--repo", help="OWNER/NAME. [default: your account's ecgvf]")] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="1.2.0. [default: the next minor one, first 1.0.0]")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="For everybody to see. [default: private]")] = False,
    unsafe_known: Annotated[
        bool, typer.Option("--i-know-this-is-unsafe", help="Let an unsafe concept be public; it stays gated.")
    ] = False,
    no_images: NoImagesOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be uploaded, and stop.")] = False,
    chosen: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish the dataset on the Hugging Face Hub: a commit, and a version as a tag on it."""
    from ecgvf.core.run import ConceptRun
    from ecgvf.core.store import Store
    from ecgvf.publish.push import prepare, upload

    console.json_mode(as_json)
    planned = prepare(
        ConceptRun.load(Store(store), concept),
        repo,
        version=version,
        public=public,
        unsafe_known=unsafe_known,
        images=not no_images,
        chosen=chosen,
    )
    with planned as plan:
        told = {
            "repo": plan.repo,
            "concept": plan.concept,
            "version": plan.version,
            "fingerprint": plan.content.facts.fingerprint,
            "counts": plan.content.facts.counts,
            "new_repository": plan.before is None,
            "visibility": "public" if plan.public else "private",
            "gated": plan.gated,
        }
        if plan.nothing is not None and not (plan.opens or plan.closes):
            console.print(
                f"Nothing to do: {console.escape(plan.repo)} v{plan.nothing} holds the same content "
                f"(fingerprint {plan.content.facts.fingerprint})."
            )
            if as_json:
                console.print_json({**told, "done": "nothing"})
            return
        _show(plan)
        if dry_run:
            card = plan.small["README.md"].decode()
            console.print(f"\n{console.escape(card)}\nDry run: nothing was uploaded.")
            if as_json:
                files = [{"path": path, "bytes": size} for path, size in plan.files]
                console.print_json(
                    {**told, "done": "dry run", "files": files, "removed": list(plan.stale), "card": card}
                )
            return
        commit = upload(plan)
    named = f"{plan.repo}/{plan.concept}@v{plan.version}"
    console.print(f"Published [bold]{console.escape(plan.repo)} v{plan.version}[/bold] (commit {commit[:12]}).")
    console.print(f"Next: [bold]ear train --dataset {console.escape(named)}[/bold]")
    if as_json:
        done = "settings" if plan.nothing is not None else "tagged" if plan.only_tag else "pushed"
        console.print_json({**told, "done": done, "commit": commit, "dataset": named})


def _show(plan: "Plan") -> None:
    """What is about to happen, before it does."""
    seen = "public" if plan.public else "private"
    where = "a new" if plan.before is None else "the"
    newest = plan.before.newest if plan.before is not None else None
    console.print(
        f"[bold]{plan.concept}[/bold] → {where} {seen} dataset [bold]{console.escape(plan.repo)}[/bold], version "
        f"[bold]{plan.version}[/bold] {f'after {newest}' if newest else '(the first)'}"
        f"{', gated: access on request' if plan.gated else ''}"
    )
    if plan.nothing is not None:
        console.print("It holds the same content already; what changes is who may see it.")
        return
    if plan.only_tag:
        console.print("Its commit is there already; what is missing is the tag.")
        return
    for path, size in plan.files:
        console.print(f"  {console.escape(path)}  {_size(size)}")
    for path in plan.stale:
        console.print(f"  {console.escape(path)}  goes")


@app.command()
def versions(
    repo: Annotated[str, typer.Argument(help="OWNER/NAME.")],
    as_json: JsonOption = False,
) -> None:
    """List the versions of a published dataset: dates, fingerprints, counts."""

    from ecgvf.publish.versions import versions as look

    console.json_mode(as_json)
    found = look(repo)
    if as_json:
        listed = [
            {
                "version": one.version,
                "commit": one.commit,
                "date": one.told.date if one.told is not None else None,
                "concepts": one.told.model_dump(mode="json")["concepts"] if one.told is not None else {},
            }
            for one in found
        ]
        console.print_json({"repo": repo, "versions": listed})
        return
    table = console.table(
        "version", "date", "concept", "train", "test", "rejected", "fingerprint", title=console.escape(repo)
    )
    for one in found:
        if one.told is None:
            table.add_row(f"v{one.version}", "", f"a tag made by hand, on commit {one.commit[:12]}")
            continue
        for place, (name, fact) in enumerate(one.told.concepts.items()):
            counts = [str(fact.counts.get(which, "")) for which in ("train", "test", "rejected")]
            first = (f"v{one.version}", one.told.date) if place == 0 else ("", "")
            table.add_row(*first, name, *counts, fact.fingerprint)
    console.print(
        table if found else f"{console.escape(repo)} has no version yet: `ecgvf push-to-hub` makes the first."
    )


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="OWNER/NAME[/CONCEPT]@v1.0.0, or an exported folder.")],
    after: Annotated[str, typer.Argument(help="The same at another version.")],
    as_json: JsonOption = False,
) -> None:
    """Say what moved between two versions: pairs added, removed, judged anew; settings."""
    from dataclasses import asdict

    from ecgvf.core.errors import SettingsError
    from ecgvf.publish.versions import diff as compare

    console.json_mode(as_json)
    (old, first), (new, second) = _published(before), _published(after)
    if first is not None and second is not None and first != second:
        raise SettingsError(f"{before} and {after} are of two concepts: name one concept, or none")
    found = compare(old, new, second or first)
    if as_json:
        console.print_json({"before": before, "after": after, "concepts": [asdict(one) for one in found]})
        return
    for one in found:
        if one.equal:
            console.print(f"[bold]{one.concept}[/bold]: nothing moved.")
            continue
        counts = f"{len(one.added)} added, {len(one.removed)} removed, {len(one.rejudged)} judged anew"
        console.print(f"[bold]{one.concept}[/bold]: {counts}, {len(one.settings)} settings moved")
        for mark, rows in (("+", one.added), ("-", one.removed)):
            for row in rows[:SHOWN]:
                console.print(f"  {mark} {_pair(row)}{_why(row.get('reason'))}")
            if len(rows) > SHOWN:
                console.print(f"  {mark} … and {len(rows) - SHOWN} more (--json lists them)")
        for row in one.rejudged[:SHOWN]:
            verdicts = console.escape(" → ".join(row[when]["reason"] or "accepted" for when in ("before", "after")))
            console.print(f"  ~ {_pair(row)}: {verdicts}")
        if len(one.rejudged) > SHOWN:
            console.print(f"  ~ … and {len(one.rejudged) - SHOWN} more (--json lists them)")
        for line in one.settings:
            console.print(f"  {console.escape(line)}")


def _published(name: str) -> "tuple[Published, str | None]":
    """What ``name`` names, and the concept in it, if it names one."""
    from ecgvf.publish.hub import download
    from ecgvf.publish.published import Published, hub_name

    if Path(name).is_dir():
        return Published(Path(name), name), None
    known = hub_name(name)
    return download(known), known.concept


def _pair(row: "dict[str, Any]") -> str:
    texts = [row["target"], *([row["surrogate"]] if row["surrogate"] else [])]
    return console.escape(" | ".join(texts))


def _why(reason: str | None) -> str:
    return console.escape(f" ({reason})") if reason else ""


def _size(count: int) -> str:
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


@app.command("import")
def import_file(
    file: Annotated[
        str,
        typer.Argument(
            help="Text (a prompt per line), CSV, TSV, JSON, JSONL or Parquet; a folder of Six-CD; hub:OWNER/NAME."
        ),
    ],
    concept: Annotated[str, typer.Option("--concept", help="A shipped concept, or a YAML file's path.")],
    only: Annotated[
        str | None, typer.Option("--only", help="Take the rows that the file says are of this, such as violence.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="Read this column rather than others of the same meaning; if its name is unknown, as the target "
            "prompts. Repeatable.",
        ),
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Of the file; kept with the pairs.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take somebody's pairs or prompts into the store, to be drawn and judged like any others."""
    from ecgvf.core.concepts import find
    from ecgvf.core.run import ConceptRun
    from ecgvf.core.store import Store
    from ecgvf.pairs import tables
    from ecgvf.pairs.importing import import_pairs
    from ecgvf.publish.published import hub_name

    console.json_mode(as_json)
    known = find(concept)
    if file.startswith("hub:"):
        from ecgvf.publish.hub import foreign

        source = foreign(hub_name(file), column or ())
    else:
        source = tables.read_table(Path(file), column or ())
    imported = import_pairs(ConceptRun(Store(store), known), source, only=only, licence=licence)
    stage, summary = imported.stage, imported.stage.summary
    for warning, count in imported.warnings.items():
        console.note(f"{count} × {warning}, such as: {console.escape(imported.examples[warning])}")
    if as_json:
        console.print_json(
            {
                "concept": known.name,
                "set": stage.fingerprint,
                "path": str(stage.path),
                "source": stage.settings["source"],
                "columns": stage.settings["columns"],
                "only": stage.settings["only"],
                "left_out": imported.left_out,
                "warnings": imported.warnings,
                **summary,
            }
        )
        return
    train, test = summary["train"], summary["test"]
    meant = ", ".join(f"{said} by {' and '.join(columns)}" for said, columns in source.columns.items())
    taken = stage.settings["only"]
    meant += f"; the rows of {taken!r}" if taken else ""
    console.print(
        f"[bold]{known.name}[/bold]: {train['accepted']} pairs and {test['accepted']} test prompts from "
        f"{console.escape(source.name)} ({console.escape(meant)}); "
        f"{imported.left_out} rows of other concepts left out; "
        f"rejected {train['malformed'] + test['malformed']} malformed, "
        f"{train['duplicate'] + test['duplicate']} duplicate."
    )
    console.print(f"Set {stage.fingerprint} in {console.escape(str(stage.path))}. Next: [bold]ecgvf filter[/bold]")
