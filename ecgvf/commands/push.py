"""``push-to-hub``: stage 4, the dataset as a version on the Hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal

from ecgvf.commands.options import ConceptOption, JsonOption, NoImagesOption, SetOption, StoreOption
from ecgvf.core import console

if TYPE_CHECKING:
    from ecgvf.publish.push import PushPlan

_DONE = {"commit": "pushed", "tag": "tagged", "none": "settings"}


def push_to_hub(
    concept: ConceptOption = None,
    repo: Annotated[str | None, typer.Option(help="OWNER/NAME.", show_default="your account's ecgvf")] = None,
    version: Annotated[
        str | None,
        typer.Option(help="Version, such as 1.2.0.", show_default="the next minor version, first 1.0.0"),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Make the repository public.", show_default="private")
    ] = False,
    unsafe_known: Annotated[
        bool, typer.Option("--i-know-this-is-unsafe", help="Allow --public for an unsafe concept; it stays gated.")
    ] = False,
    no_images: NoImagesOption = False,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            help="Publish the results in this folder of `ear suite` beside the dataset instead, as configurations of "
            "their own.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be uploaded, and stop.")] = False,
    set_id: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish the dataset on the Hugging Face Hub: a commit, and a version as a tag on it."""
    from ecgvf import Run
    from ecgvf.publish.push import prepare, upload

    if results is not None:
        given = {"--concept": concept, "--version": version, "--no-images": no_images, "--set": set_id}
        _push_results(results, repo, given, public=public, unsafe_known=unsafe_known, dry_run=dry_run)
        return
    run, images = Run.load(concept, store), not no_images
    with prepare(
        run,
        repo,
        version=version,
        public=public,
        unsafe_known=unsafe_known,
        images=images,
        set_id=set_id,
        dry_run=dry_run,
    ) as plan:
        if plan.nothing_to_do:
            result = _print_nothing_to_do(plan)
        elif dry_run:
            result = _print_dry_run(plan)
        else:
            _print_plan(plan)
            result = _print_result(plan, upload(plan), store)
        if as_json:
            console.print_json(_facts(plan) | result)


def _push_results(
    folder: Path, repo: str | None, given: Mapping[str, object], *, public: bool, unsafe_known: bool, dry_run: bool
) -> None:
    from ecgvf.core.errors import SettingsError
    from ecgvf.publish.push_results import prepare_results, upload_results

    if others := [name for name, value in given.items() if value]:
        raise SettingsError(f"--results publishes a suite's results, not a dataset: leave {others[0]} out")
    plan = prepare_results(folder, repo, public=public, unsafe_known=unsafe_known, dry_run=dry_run)
    facts = {"repo": plan.repo, "suite": plan.name, "gated": plan.gated}
    where = f"[bold]{console.escape(plan.repo)}[/bold]"
    lines = [f"  {console.escape(path)}  {decimal(size)}" for path, size in plan.sizes.items()]
    lines += [f"  {console.escape(path)}  deleted" for path in plan.deleted]
    if plan.uploaded:
        lines = ["It has the same results already; only its visibility changes."]
    if plan.nothing_to_do:
        console.print_result(facts | {"done": "nothing"}, f"Nothing to do: {where} has these results.")
    elif dry_run:
        files = [{"path": path, "bytes": size} for path, size in plan.sizes.items()]
        result = {"done": "dry run", "files": files, "removed": list(plan.deleted)}
        console.print_result(facts | result, *lines, "Dry run: nothing was uploaded.")
    else:
        console.print(*lines)
        commit = upload_results(plan)
        configs = [f"{plan.name}-results", f"{plan.name}-outcomes"]
        done = f"Published in {where} (commit {commit[:12]}): {', '.join(configs)}."
        result = {"done": "settings" if plan.uploaded else "pushed", "commit": commit, "configs": configs}
        console.print_result(facts | result, done)


def _facts(plan: "PushPlan") -> dict[str, Any]:
    return {
        "repo": plan.repo,
        "concept": plan.concept,
        "version": plan.version,
        "fingerprint": plan.files.facts.fingerprint,
        "counts": plan.files.facts.counts,
        "new_repository": plan.before.head is None,
        "visibility": "public" if plan.public else "private",
        "gated": plan.gated,
    }


def _print_plan(plan: "PushPlan") -> None:
    from ecgvf.publish.repository import version_numbers

    which = "a new" if plan.before.head is None else "the"
    after = f"after {max(plan.before.tags, key=version_numbers)}" if plan.before.tags else "(the first)"
    console.print(
        f"[bold]{plan.concept}[/bold] → {which} {'public' if plan.public else 'private'} dataset "
        f"[bold]{console.escape(plan.repo)}[/bold], version [bold]{plan.version}[/bold] {after}"
        f"{', gated: access on request' if plan.gated else ''}"
    )
    if plan.action == "none":
        console.print("It has the same content already; only its visibility changes.")
    elif plan.action == "tag":
        console.print("Its commit is there already; only the tag is missing.")
    else:
        console.print(*(f"  {console.escape(path)}  {decimal(size)}" for path, size in plan.sizes.items()))
        console.print(*(f"  {console.escape(path)}  deleted" for path in plan.deleted))


def _print_nothing_to_do(plan: "PushPlan") -> dict[str, Any]:
    console.print(
        f"Nothing to do: {console.escape(plan.repo)} v{plan.version} has the same content "
        f"(fingerprint {plan.files.facts.fingerprint})."
    )
    return {"done": "nothing"}


def _print_dry_run(plan: "PushPlan") -> dict[str, Any]:
    _print_plan(plan)
    card = plan.small_files["README.md"].decode()
    console.print(f"\n{console.escape(card)}\nDry run: nothing was uploaded.")
    files = [{"path": path, "bytes": size} for path, size in plan.sizes.items()]
    return {"done": "dry run", "files": files, "removed": list(plan.deleted), "card": card}


def _print_result(plan: "PushPlan", commit: str, store: Path | None) -> dict[str, Any]:
    from ecgvf.commands.results import next_command

    console.print(f"Published [bold]{console.escape(plan.repo)} v{plan.version}[/bold] (commit {commit[:12]}).")
    console.print(next_command(f"ear train --dataset {plan.dataset}", store=store))
    return {"done": _DONE[plan.action], "commit": commit, "dataset": plan.dataset}
