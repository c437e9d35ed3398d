"""Pushing a dataset to the Hub: versions, visibility, faults."""

import fcntl
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core import hub as hub_client
from ecgvf.core import openings
from ecgvf.core.errors import DatasetError, HubError, SettingsError
from ecgvf.core.hub import HubName
from ecgvf.core.run import ConceptRun
from ecgvf.publish import parquet, staging
from ecgvf.publish.dataset_folder import DatasetFolder
from ecgvf.publish.export import export
from ecgvf.publish.push import prepare, upload
from ecgvf.publish.repository import download
from ecgvf.publish.versions import diff
from tests.ecgvf.conftest import use_hub
from tests.ecgvf.publish.conftest import Filter, new_run
from tests.hub_server import Hub, Repo, Stored

REPO = "my-org/ecgvf"

runner = CliRunner()


def push(run: ConceptRun, repo: str | None = REPO, **options: object) -> str:
    """Push as the command does. Returns the version."""
    with prepare(run, repo, **options) as plan:  # type: ignore[arg-type]
        if not plan.nothing_to_do:
            upload(plan)
        return plan.version


def front_matter(hub: Hub) -> dict[str, Any]:
    """The YAML of the card."""
    fields: dict[str, Any] = yaml.safe_load(hub.text(REPO, "README.md").split("---")[1])
    return fields


def files(hub: Hub) -> dict[str, Stored]:
    """The files at the head of the main branch."""
    commit = hub.repos[REPO].at("main")
    assert commit is not None
    return commit.files


def test_a_version_is_a_tag_that_datasets_loads(run: ConceptRun, hub: Hub) -> None:
    assert push(run) == "1.0.0"
    repo = hub.repos[REPO]
    assert repo.tags == {"v1.0.0": repo.head} and repo.private and not repo.gated
    church = datasets.load_dataset(REPO, "church", revision="v1.0.0")
    assert {split: len(rows) for split, rows in church.items()} == {"train": 3, "test": 1}
    assert church["train"][0]["target_image"].size == (16, 16)
    assert len(datasets.load_dataset(REPO, "church-rejected", revision="v1.0.0")["train"]) == 2
    assert set(datasets.get_dataset_config_names(REPO)) == {"church", "church-rejected"}
    assert datasets.get_dataset_default_config_name(REPO) == "church"
    streamed = datasets.load_dataset(REPO, "church", revision="v1.0.0", split="train", streaming=True)
    assert len([*streamed]) == 3


def test_pushing_the_same_content_again_uploads_nothing(run: ConceptRun, hub: Hub) -> None:
    push(run)
    before = hub.repos[REPO].head
    hub.log.clear()
    assert push(run) == "1.0.0"
    assert push(run, version="1.0.0") == "1.0.0"
    assert hub.repos[REPO].head == before and not hub.count("^(POST|PUT|DELETE)")


def test_openings_of_test_go_with_the_next_version_and_make_none(run: ConceptRun, hub: Hub, filtered: Filter) -> None:
    push(run)
    openings.record(run, dataset="d", adapter="a", recipe="default")
    before = hub.repos[REPO].head
    assert push(run) == "1.0.0" and hub.repos[REPO].head == before
    filtered(run, train=6)
    assert push(run) == "1.1.0"
    published = hub.text(REPO, f"church/{openings.FILE}")
    openings.openings_file(run).unlink()
    openings.record(run, dataset="d", adapter="b", recipe="default")
    filtered(run, train=5)
    assert push(run) == "1.2.0"
    assert hub.text(REPO, f"church/{openings.FILE}").startswith(published)
    assert [opening.adapter for opening in download(HubName.parse(f"hub:{REPO}/church")).dataset().openings] == [
        "a",
        "b",
    ]


def test_making_a_dataset_public_needs_no_new_version(run: ConceptRun, hub: Hub) -> None:
    push(run)
    assert push(run, public=True) == "1.0.0"
    assert not hub.repos[REPO].private and list(hub.repos[REPO].tags) == ["v1.0.0"]


def test_a_concept_marked_unsafe_later_is_gated(run: ConceptRun, hub: Hub) -> None:
    unsafe = new_run(run.store.root, unsafe=True)
    with pytest.raises(SettingsError, match="unsafe"):
        push(unsafe, public=True)
    push(unsafe)
    assert hub.repos[REPO].private and hub.repos[REPO].gated == "manual"


def test_a_push_overtaken_between_commit_and_tag_gets_the_next_version(
    run: ConceptRun, hub: Hub, filtered: Filter, tmp_path: Path
) -> None:
    hub.fail("POST", "/tag/", status=503, times=10)
    with pytest.raises(HubError):
        push(run)
    hub.faults.clear()
    other = filtered(new_run(tmp_path / "other", "castle"))
    with prepare(other, REPO) as late:
        assert push(run) == "1.0.0"
        with pytest.raises(HubError):
            upload(late)
    assert push(other) == "1.1.0"
    versions = json.loads(hub.text(REPO, "ecgvf.json"))["versions"]
    assert [sorted(version["concepts"]) for version in versions] == [["church"], ["castle", "church"]]


@pytest.mark.parametrize("repo", ["justname", "a/b/c", "a b/c"])
def test_a_repository_needs_an_owner(run: ConceptRun, hub: Hub, repo: str) -> None:
    with pytest.raises(SettingsError, match="OWNER/NAME"):
        push(run, repo)
    assert not hub.log


def test_changed_content_is_the_next_minor_version(run: ConceptRun, hub: Hub, filtered: Filter) -> None:
    push(run)
    filtered(run, train=6)
    assert push(run) == "1.1.0"
    assert list(hub.repos[REPO].tags) == ["v1.0.0", "v1.1.0"]
    sizes = [len(datasets.load_dataset(REPO, "church", revision=tag, split="train")) for tag in hub.repos[REPO].tags]
    assert sizes == [3, 5]
    assert "| v1.1.0 |" in hub.text(REPO, "README.md") and "| v1.0.0 |" in hub.text(REPO, "README.md")


def test_tags_are_never_moved_and_versions_increase(run: ConceptRun, hub: Hub, filtered: Filter) -> None:
    push(run, version="v2.0.0")
    tagged = dict(hub.repos[REPO].tags)
    filtered(run, train=6)
    with pytest.raises(HubError, match=r"v2\.0\.0 with other content.*never moved.*2\.1\.0"):
        push(run, version="2.0.0")
    with pytest.raises(HubError, match="would go back"):
        push(run, version="1.9.9")
    with pytest.raises(SettingsError, match="three numbers"):
        push(run, version="2.1")
    assert hub.repos[REPO].tags == tagged
    push(run, version="2.1.0")
    filtered(run)
    with pytest.raises(HubError, match=r"v2\.0\.0 with this very content, and newer ones"):
        push(run, version="2.0.0")


def test_another_concept_leaves_the_first_unchanged(run: ConceptRun, hub: Hub, filtered: Filter) -> None:
    push(run)
    before = files(hub)
    assert push(filtered(new_run(run.store.root, "castle"), train=3)) == "1.1.0"
    church = {path for path in before if path.startswith(("church/", "church-rejected/", "assets/church"))}
    assert len(church) == 5
    assert {path: files(hub)[path] for path in church} == {path: before[path] for path in church}
    configs = {config["config_name"]: config.get("default", False) for config in front_matter(hub)["configs"]}
    assert configs == {"church": True, "church-rejected": False, "castle": False, "castle-rejected": False}
    assert len(datasets.load_dataset(REPO, "church", revision="v1.1.0")["train"]) == 3
    assert len(datasets.load_dataset(REPO, "castle", revision="v1.1.0")["train"]) == 2


def test_obsolete_files_of_the_last_version_are_deleted(
    run: ConceptRun, hub: Hub, filtered: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(parquet, "SHARD_BYTES", 1)
        push(run)
    filtered(run, train=6)
    push(run)
    assert [path for path in files(hub) if path.startswith("church/")] == [
        "church/test-00000-of-00001.parquet",
        "church/train-00000-of-00001.parquet",
    ]


def test_of_two_simultaneous_pushes_the_second_fails_and_nothing_is_lost(
    run: ConceptRun, hub: Hub, filtered: Filter
) -> None:
    push(run)
    filtered(run, train=6)
    hub.meanwhile["/commit/"] = lambda: hub.write(REPO, "notes.md", "somebody else")
    with pytest.raises(HubError, match="was changed during the push"):
        push(run)
    assert hub.text(REPO, "notes.md") == "somebody else" and list(hub.repos[REPO].tags) == ["v1.0.0"]
    assert push(run) == "1.1.0"
    assert hub.text(REPO, "notes.md") == "somebody else"


def test_two_machines_push_from_one_store(
    run: ConceptRun, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # file locks do not reach the other machine

    def push_from(machine: str) -> None:
        (tmp_path / machine).write_text(machine)
        with monkeypatch.context() as patch:
            patch.setattr(staging, "BOOT_ID", tmp_path / machine)
            push(run, f"my-org/{machine}")

    # The first has written its files and not sent them when the second does its whole push.
    hub.meanwhile["/my-org/first/preupload/"] = lambda: push_from("second")
    push_from("first")
    for repo in ("my-org/first", "my-org/second"):
        assert list(hub.repos[repo].tags) == ["v1.0.0"]
    assert not [*run.store.root.glob("church/publish/*")]


@pytest.mark.faults
def test_an_interrupted_upload_keeps_the_last_version_and_resumes(run: ConceptRun, hub: Hub, filtered: Filter) -> None:
    push(run)
    first = hub.repos[REPO].head
    filtered(run, train=6)
    hub.cut("^/lfs/", times=100, skip=2)
    with pytest.raises(HubError, match="run the same command again"):
        push(run)
    assert hub.repos[REPO].head == first and list(hub.repos[REPO].tags) == ["v1.0.0"]
    hub.faults.clear()
    hub.log.clear()
    assert push(run) == "1.1.0"
    sent = hub.count("^PUT /lfs/")
    assert 0 < sent < len([*(hub.folder / "lfs").iterdir()]), "what had arrived was sent again"
    assert len(datasets.load_dataset(REPO, "church", revision="v1.1.0")["train"]) == 5


@pytest.mark.faults
def test_a_push_interrupted_before_its_tag_only_tags(run: ConceptRun, hub: Hub) -> None:
    hub.fail("POST", "/tag/", 503, times=100)
    with pytest.raises(HubError, match="503"):
        push(run)
    commit = hub.repos[REPO].head
    assert not hub.repos[REPO].tags
    hub.faults.clear()
    with prepare(run, REPO) as plan:
        assert (plan.action, plan.version) == ("tag", "1.0.0")
        upload(plan)
    assert hub.repos[REPO].tags == {"v1.0.0": commit} and hub.repos[REPO].head == commit


@pytest.mark.faults
def test_temporary_failures_of_the_hub_are_retried(run: ConceptRun, hub: Hub) -> None:
    hub.fail("PUT", "^/lfs/", 500)
    hub.fail("PUT", "^/lfs/", 429)
    hub.cut("^/lfs/")
    assert push(run) == "1.0.0"
    assert all(fault.times == 0 for fault in hub.faults)


@pytest.mark.faults
def test_a_refused_upload_is_one_line_and_no_version(run: ConceptRun, hub: Hub) -> None:
    hub.fail("PUT", "^/lfs/", 403, times=100)
    result = runner.invoke(app, ["push-to-hub", "--repo", REPO, "--store", str(run.store.root)])
    assert result.exit_code == 2, result.output
    assert "write access" in result.stderr
    assert result.stderr.strip().count("\n") == 0 and not hub.repos[REPO].tags
    hub.faults.clear()
    assert push(run) == "1.0.0"


@pytest.mark.faults
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "log in with `hf auth login`"),
        (403, "write access"),
        (409, "already has this"),
        (412, "was changed during the push"),
        (429, "limits the rate"),
        (500, "wait a few minutes"),
    ],
)
def test_refusals_are_one_line_with_advice(run: ConceptRun, hub: Hub, status: int, message: str) -> None:
    hub.fail("POST", "/commit/", status, times=100)
    result = runner.invoke(app, ["push-to-hub", "--repo", REPO, "--store", str(run.store.root)])
    assert result.exit_code == 2, result.output
    assert message in result.stderr and result.stderr.strip().count("\n") == 0
    assert not hub.repos[REPO].tags


def test_missing_wrong_and_read_only_tokens_are_refused(
    run: ConceptRun, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub(tmp_path / "hf2", monkeypatch, token=None)
    with pytest.raises(HubError, match="log in"):
        push(run, None)
    use_hub(tmp_path / "hf3", monkeypatch, token="hf_wrong")
    with pytest.raises(HubError, match="does not know your token"):
        push(run, None)
    use_hub(tmp_path / "hf4", monkeypatch, token="hf_reader")
    with pytest.raises(HubError, match="write access"):
        push(run)
    assert not hub.repos
    use_hub(tmp_path / "hf5", monkeypatch, token="hf_read_only")
    monkeypatch.setattr("ecgvf.publish.push.write_parquet", lambda *_, **__: pytest.fail("prepared"))
    for repo in (None, REPO):
        with pytest.raises(HubError, match="the token of owner is read-only: create one with write access"):
            push(run, repo)


@pytest.mark.parametrize("options", [(), ("--repo", REPO)], ids=["own", "named"])
def test_a_dry_run_needs_no_more_than_a_read_only_token(
    run: ConceptRun, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    use_hub(tmp_path / "hf2", monkeypatch, token="hf_read_only")
    result = runner.invoke(app, ["push-to-hub", "--dry-run", *options, "--store", str(run.store.root)])
    assert result.exit_code == 0 and "Dry run: nothing was uploaded." in result.stdout, result.output
    assert not hub.repos


def test_a_fine_grained_token_is_refused_only_by_what_it_may_not_do(
    run: ConceptRun, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub(tmp_path / "hf2", monkeypatch, token="hf_fine")
    assert push(run, None) == "1.0.0" and "owner/ecgvf" in hub.repos


def test_without_a_network_a_push_fails_at_once(run: ConceptRun, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.server.shutdown()
    hub.server.server_close()
    monkeypatch.setattr(hub_client, "_answered", False)
    result = runner.invoke(app, ["push-to-hub", "--store", str(run.store.root)])
    assert result.exit_code == 2, result.output
    assert "the Hub cannot be reached for your account" in result.stderr and result.stderr.count("\n") == 1


def test_a_push_is_private_unless_public(run: ConceptRun, hub: Hub, filtered: Filter) -> None:
    push(run, "owner/open", public=True)
    assert not hub.repos["owner/open"].private
    filtered(run, train=6)
    with pytest.raises(SettingsError, match=r"owner/open is public.*--public"):
        push(run, "owner/open")
    push(run)
    assert hub.repos[REPO].private
    filtered(run, train=5)
    push(run, public=True)
    assert not hub.repos[REPO].private


@pytest.fixture
def unsafe(filtered: Filter, tmp_path: Path) -> ConceptRun:
    return filtered(new_run(tmp_path / "unsafe", unsafe=True))


def test_an_unsafe_concept_is_gated_and_not_public(
    unsafe: ConceptRun, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="--i-know-this-is-unsafe"):
        push(unsafe, public=True)
    push(unsafe)
    repo = hub.repos[REPO]
    assert repo.private and repo.gated == "manual"
    puts = [line.endswith("/settings") for line in hub.log if line.startswith("PUT")]
    assert puts.index(True) < puts.index(False), "uploaded before the gate"
    card = front_matter(hub)
    assert "not-for-all-audiences" in card["tags"] and card["extra_gated_prompt"] and card["extra_gated_fields"]
    push(unsafe, "owner/known", public=True, unsafe_known=True)
    assert not hub.repos["owner/known"].private and hub.repos["owner/known"].gated == "manual"
    use_hub(tmp_path / "hf2", monkeypatch, token="hf_reader")
    with pytest.raises(Exception, match=r"gated|restricted"):
        datasets.load_dataset("owner/known", "church")


def test_unsafe_images_can_be_left_out(unsafe: ConceptRun, hub: Hub) -> None:
    push(unsafe, images=False)
    assert not any(path.endswith(".png") for path in files(hub))
    rows = datasets.load_dataset(REPO, "church", split="train")
    assert "target_image" not in rows.column_names and rows[0]["target"] and rows[0]["target_vq_ids"]


def test_text_that_people_wrote_into_the_card_stays(run: ConceptRun, hub: Hub, filtered: Filter) -> None:
    push(run)
    text = hub.text(REPO, "README.md")
    text = text.replace("license: other\nlicense_name: see-the-card\n", "license: mit\nfunding: a grant\n")
    text = text.replace("- ecgvf\n", "- ecgvf\n- mine\n") + "\n## Thanks\n\nTo all.\n"
    hub.write(REPO, "README.md", text)
    filtered(run, train=6)
    push(run)
    card = front_matter(hub)
    assert card["license"] == "mit" and card["funding"] == "a grant" and "license_name" not in card
    assert "mine" in card["tags"]
    body = hub.text(REPO, "README.md")
    assert body.endswith("\n## Thanks\n\nTo all.\n") and "| v1.1.0 |" in body and body.count("ecgvf:begin") == 1


def test_an_unreadable_card_is_not_overwritten(run: ConceptRun, hub: Hub, filtered: Filter) -> None:
    push(run)
    hub.write(REPO, "README.md", "---\nlicense: [\n---\nMine.\n")
    filtered(run, train=6)
    with pytest.raises(DatasetError, match="cannot be read"):
        push(run)
    hub.write(REPO, "README.md", "Für alle.".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"README\.md of .* is not UTF-8 text"):
        push(run)


def test_the_command_shows_its_plan_first(run: ConceptRun, hub: Hub) -> None:
    result = runner.invoke(app, ["push-to-hub", "--dry-run", "--store", str(run.store.root)])
    assert result.exit_code == 0, result.output
    for part in ("owner/ecgvf", "private", "1.0.0", "church/train-00000-of-00001.parquet", "kB", "# Concept erasure"):
        assert part in result.stdout
    assert not hub.repos and not hub.count("^(POST|PUT) (?!/api/validate)")
    result = runner.invoke(app, ["push-to-hub", "--store", str(run.store.root), "--json"])
    report = json.loads(result.stdout)
    assert (report["repo"], report["version"], report["done"]) == ("owner/ecgvf", "1.0.0", "pushed")
    assert report["commit"] == hub.repos["owner/ecgvf"].head and report["dataset"] == "owner/ecgvf/church@v1.0.0"
    result = runner.invoke(app, ["push-to-hub", "--store", str(run.store.root)])
    assert result.exit_code == 0 and "Nothing to do" in result.stdout
    result = runner.invoke(app, ["push-to-hub", "--repo", REPO, "--store", str(run.store.root)])
    assert f"Next: ear train --dataset {REPO}/church@v1.0.0 --store {run.store.root}\n" in result.stdout
    assert not [*run.store.root.glob("church/publish/*")]


def test_versions_and_diff(run: ConceptRun, hub: Hub, filtered: Filter) -> None:
    push(run)
    filtered(run, train=6)
    push(run)
    hub.repos[REPO].tags["v0.1.0"] = hub.repos[REPO].tags["v1.0.0"]
    listed = json.loads(runner.invoke(app, ["versions", REPO, "--json"]).stdout)["versions"]
    assert [version["version"] for version in listed] == ["1.1.0", "1.0.0", "0.1.0"]
    assert listed[0]["concepts"]["church"]["counts"] == {"train": 5, "validation": 0, "test": 1, "rejected": 3}
    assert listed[0]["concepts"]["church"]["fingerprint"] != listed[1]["concepts"]["church"]["fingerprint"]
    assert listed[2]["concepts"] == {} and listed[2]["commit"]
    shown = runner.invoke(app, ["versions", REPO]).stdout
    assert "v1.1.0" in shown and "by hand" in shown

    result = runner.invoke(app, ["diff", f"{REPO}@v1.0.0", f"{REPO}@v1.1.0", "--json"])
    assert result.exit_code == 0, result.output
    [church] = json.loads(result.stdout)["concepts"]
    # Lakes 4 and 5 were test prompts and are pairs now; lake 3, the last of the first run, is judged anew.
    assert {row["target"] for row in church["added"] if row["split"] == "train"} == {
        "a church by lake 4",
        "a church by lake 5",
    }
    assert {row["target"] for row in church["removed"]} == {"a church by lake 4", "a church by lake 5"}
    [rejudged] = church["rejudged"]
    assert rejudged["target"] == "a church by lake 3"
    assert (rejudged["before"]["reason"], rejudged["after"]["reason"]) == ("concept_leaked", None)
    assert any(line.startswith("pairs.pairs") for line in church["settings"])
    shown = runner.invoke(app, ["diff", f"{REPO}/church@v1.0.0", f"{REPO}/church@v1.1.0"]).stdout
    assert "+ a church by lake 4 | a hotel by lake 4" in shown and "concept_leaked → accepted" in shown
    same = runner.invoke(app, ["diff", f"{REPO}@v1.0.0", f"{REPO}@v1.0.0"]).stdout
    assert "church: no changes" in same


def test_diff_shows_a_record_that_moved_to_another_split(run: ConceptRun, tmp_path: Path) -> None:
    for name in ("first", "second"):
        export(run, tmp_path / name)
    config = tmp_path / "second" / "church"
    [train], [test] = config.glob("train-*.parquet"), config.glob("test-*.parquet")
    rows = [pq.read_table(file) for file in (train, test)]
    pq.write_table(rows[0].slice(1), train)
    pq.write_table(pa.concat_tables([rows[1], rows[0].slice(0, 1)], promote_options="default"), test)
    [church] = diff(*(DatasetFolder(tmp_path / name, name) for name in ("first", "second")))
    assert not church.added and not church.removed
    assert [(row["before"]["split"], row["after"]["split"]) for row in church.rejudged] == [("train", "test")]
    shown = runner.invoke(app, ["diff", str(tmp_path / "first"), str(tmp_path / "second")]).stdout
    assert "1 judged anew or moved" in shown and ": train → test, accepted → accepted" in shown


@pytest.mark.parametrize(("shift", "rejudged"), [(1e-8, 0), (0.1, 3)])
def test_scores_that_differ_by_rounding_are_equal(run: ConceptRun, tmp_path: Path, shift: float, rejudged: int) -> None:
    for name in ("first", "second"):
        export(run, tmp_path / name)
    [file] = tmp_path.glob("second/church/train-*.parquet")
    table = pq.read_table(file)
    index = table.column_names.index("target_score")
    scores = pc.subtract(table["target_score"], shift).cast(table.schema.field(index).type)
    pq.write_table(table.set_column(index, table.schema.field(index), scores), file)
    result = runner.invoke(app, ["diff", str(tmp_path / "first"), str(tmp_path / "second"), "--json"])
    assert len(json.loads(result.stdout)["concepts"][0]["rejudged"]) == rejudged


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["versions", "my-org/nothing"], "the Hub has no dataset my-org/nothing"),
        (["versions", "nothing"], "has no dataset nothing"),
        (["diff", f"{REPO}@v1.0.0", f"{REPO}@v9.0.0"], "has no version v9.0.0"),
        (["diff", "a", "b"], "there is no folder a, and 'a' is not a name on the Hub"),
        (["diff", "a" * 300, "b"], "not a name on the Hub"),
        (["diff", f"{REPO}@v1.0.0", "my-org/foreign@main"], "not published by `ecgvf`"),
    ],
)
def test_bad_names_are_one_line(run: ConceptRun, hub: Hub, arguments: list[str], message: str) -> None:
    push(run)
    hub.repos["my-org/foreign"] = Repo("my-org/foreign", private=False)
    hub.write("my-org/foreign", "README.md", "A foreign one.")
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr and result.stderr.strip().count("\n") == 0
