"""A dataset goes to the Hub: versions, visibility, and everything that can go wrong on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from ecgvf.cli import app
from ecgvf.core import concepts, hub_client
from ecgvf.core.errors import DatasetError, HubError, SettingsError
from ecgvf.core.store import Store
from ecgvf.publish import export as exporting
from ecgvf.publish.push import prepare, upload
from tests.ecgvf.publish.conftest import FilterResult, speak_to
from tests.hub_server import Hub

REPO = "my-org/ecgvf"

runner = CliRunner()


def push(store: Store, repo: str | None = REPO, **options: object) -> str:
    """Push and say what was done: the version."""
    with prepare(store, repo, **options) as plan:  # type: ignore[arg-type]
        if plan.nothing is None or plan.opens or plan.closes:
            upload(plan)
        return plan.version


def head(hub: Hub, repo: str = REPO) -> dict[str, object]:
    """The YAML of the card."""
    found: dict[str, object] = yaml.safe_load(hub.text(repo, "README.md").split("---")[1])
    return found


def test_a_version_is_a_tag_on_the_commit_and_loads_without_code_of_ours(store: Store, hub: Hub) -> None:
    assert push(store) == "1.0.0"
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


def test_the_same_content_again_does_nothing(store: Store, hub: Hub) -> None:
    push(store)
    before = hub.repos[REPO].head
    hub.log.clear()
    assert push(store) == "1.0.0" and push(store, version="1.0.0") == "1.0.0"
    assert hub.repos[REPO].head == before and not hub.count("^(POST|PUT|DELETE)")


def test_a_private_dataset_opens_without_a_new_version(store: Store, hub: Hub) -> None:
    push(store)
    assert push(store, public=True) == "1.0.0"
    assert not hub.repos[REPO].private and list(hub.repos[REPO].tags) == ["v1.0.0"]


def test_a_mark_as_unsafe_counts_from_when_it_is_made(store: Store, hub: Hub) -> None:
    store.remember(concepts.find("church").model_copy(update={"unsafe": True}))
    with pytest.raises(SettingsError, match="unsafe"):
        push(store, public=True)
    push(store)
    assert hub.repos[REPO].private and hub.repos[REPO].gated == "manual"


def test_who_was_overtaken_between_commit_and_tag_gets_a_version_of_their_own(
    store: Store, hub: Hub, filtered: FilterResult, tmp_path: Path
) -> None:
    hub.fail("POST", "/tag/", status=503, times=10)
    with pytest.raises(HubError):
        push(store)
    hub.faults.clear()
    other = filtered(Store(tmp_path / "other"), concept="castle")
    with prepare(other, REPO, "castle") as late:
        assert push(store) == "1.0.0"
        with pytest.raises(HubError):
            upload(late)
    assert push(other, concept="castle") == "1.1.0"
    told = json.loads(hub.text(REPO, "ecgvf.json"))["versions"]
    assert [sorted(one["concepts"]) for one in told] == [["church"], ["castle", "church"]]


@pytest.mark.parametrize("repo", ["justname", "a/b/c", "a b/c"])
def test_a_repository_has_an_owner(store: Store, hub: Hub, repo: str) -> None:
    with pytest.raises(SettingsError, match="OWNER/NAME"):
        push(store, repo)
    assert not hub.log


def test_a_change_is_the_next_minor_version_and_the_last_one_stays(
    store: Store, hub: Hub, filtered: FilterResult
) -> None:
    push(store)
    filtered(store, train=6)
    assert push(store) == "1.1.0"
    assert list(hub.repos[REPO].tags) == ["v1.0.0", "v1.1.0"]
    sizes = [len(datasets.load_dataset(REPO, "church", revision=tag, split="train")) for tag in hub.repos[REPO].tags]
    assert sizes == [3, 5]
    assert "| v1.1.0 |" in hub.text(REPO, "README.md") and "| v1.0.0 |" in hub.text(REPO, "README.md")


def test_a_tag_is_never_moved_and_versions_go_up(store: Store, hub: Hub, filtered: FilterResult) -> None:
    push(store, version="v2.0.0")
    tagged = dict(hub.repos[REPO].tags)
    filtered(store, train=6)
    with pytest.raises(HubError, match=r"v2\.0\.0 with other content.*never moved.*2\.1\.0"):
        push(store, version="2.0.0")
    with pytest.raises(HubError, match="would go back"):
        push(store, version="1.9.9")
    with pytest.raises(SettingsError, match="three numbers"):
        push(store, version="2.1")
    assert hub.repos[REPO].tags == tagged
    push(store, version="2.1.0")
    filtered(store)
    with pytest.raises(HubError, match=r"v2\.0\.0 with this very content, and newer ones"):
        push(store, version="2.0.0")


def test_another_concept_leaves_the_first_untouched(store: Store, hub: Hub, filtered: FilterResult) -> None:
    push(store)
    before = hub.repos[REPO].at("main")
    assert before is not None
    filtered(store, train=3, concept="castle")
    assert push(store) == "1.1.0"
    after = hub.repos[REPO].at("main")
    assert after is not None
    kept = [path for path in before.files if path.startswith(("church/", "church-rejected/", "assets/church"))]
    assert kept and all(after.files[path] == before.files[path] for path in kept)
    configs = {one["config_name"]: one.get("default", False) for one in head(hub)["configs"]}  # type: ignore[attr-defined]
    assert configs == {"church": True, "church-rejected": False, "castle": False, "castle-rejected": False}
    assert len(datasets.load_dataset(REPO, "church", revision="v1.1.0")["train"]) == 3
    assert len(datasets.load_dataset(REPO, "castle", revision="v1.1.0")["train"]) == 2


def test_files_of_the_last_version_that_are_no_more_go(
    store: Store, hub: Hub, filtered: FilterResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "SHARD_BYTES", 1)
        push(store)
    filtered(store, train=6)
    push(store)
    now = hub.repos[REPO].at("main")
    assert now is not None
    assert [path for path in now.files if path.startswith("church/")] == [
        "church/test-00000-of-00001.parquet",
        "church/train-00000-of-00001.parquet",
    ]


def test_of_two_pushers_at_once_the_second_is_told_and_nothing_is_lost(
    store: Store, hub: Hub, filtered: FilterResult
) -> None:
    push(store)
    filtered(store, train=6)
    hub.meanwhile["/commit/"] = lambda: hub.write(REPO, "notes.md", "somebody else")
    with pytest.raises(HubError, match="somebody else changed"):
        push(store)
    assert hub.text(REPO, "notes.md") == "somebody else" and list(hub.repos[REPO].tags) == ["v1.0.0"]
    assert push(store) == "1.1.0"
    assert hub.text(REPO, "notes.md") == "somebody else"


# A machine of its own for the tests: file locks do not reach others, and it was started at another time.
_MACHINE = """
import fcntl, sys
from pathlib import Path
from ecgvf.publish import staging
fcntl.flock = lambda *_: None
staging.BOOT_ID = Path(sys.argv.pop(1))
from ecgvf.cli import main
main()
"""


@pytest.mark.slow
def test_two_machines_push_from_one_store_without_taking_each_others_files(
    store: Store, hub: Hub, tmp_path: Path
) -> None:
    def start(machine: str) -> subprocess.Popen[str]:
        boot = tmp_path / machine
        boot.write_text(f"{machine}\n")
        command = [sys.executable, "-c", _MACHINE, str(boot), "push-to-hub", "--repo", f"my-org/{machine}"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_owner"}
        environment["ECGVF_STORE"] = str(store.root)
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    # The first has written its files and not sent them when the second does its whole push.
    ended: list[tuple[int, str]] = []

    def second() -> None:
        with start("second") as process:
            _, stderr = process.communicate(timeout=300)
            ended.append((process.returncode, stderr))

    hub.meanwhile["/my-org/first/preupload/"] = second
    with start("first") as process:
        _, stderr = process.communicate(timeout=300)
        ended.append((process.returncode, stderr))
    assert [code for code, _ in ended] == [0, 0], ended
    for repo in ("my-org/first", "my-org/second"):
        assert list(hub.repos[repo].tags) == ["v1.0.0"]
    assert not [*store.root.glob("church/publish/*")]


@pytest.mark.faults
def test_an_upload_cut_in_the_middle_leaves_the_last_version_and_goes_on(
    store: Store, hub: Hub, filtered: FilterResult
) -> None:
    push(store)
    first = hub.repos[REPO].head
    filtered(store, train=6)
    hub.cut("^/lfs/", times=100, skip=2)
    with pytest.raises(HubError, match="run the same command again"):
        push(store)
    assert hub.repos[REPO].head == first and list(hub.repos[REPO].tags) == ["v1.0.0"]
    hub.faults.clear()
    hub.log.clear()
    assert push(store) == "1.1.0"
    sent = hub.count("^PUT /lfs/")
    assert 0 < sent < len([*(hub.folder / "lfs").iterdir()]), "what had arrived was sent again"
    assert len(datasets.load_dataset(REPO, "church", revision="v1.1.0")["train"]) == 5


@pytest.mark.faults
def test_a_push_that_died_before_its_tag_only_tags(store: Store, hub: Hub) -> None:
    hub.fail("POST", "/tag/", 503, times=100)
    with pytest.raises(HubError, match="503"):
        push(store)
    made = hub.repos[REPO].head
    assert not hub.repos[REPO].tags
    hub.faults.clear()
    with prepare(store, REPO) as plan:
        assert plan.only_tag and plan.version == "1.0.0"
        upload(plan)
    assert hub.repos[REPO].tags == {"v1.0.0": made} and hub.repos[REPO].head == made


@pytest.mark.faults
def test_a_passing_failure_of_the_hub_is_waited_out(store: Store, hub: Hub) -> None:
    hub.fail("PUT", "^/lfs/", 500)
    hub.fail("PUT", "^/lfs/", 429)
    hub.cut("^/lfs/")
    assert push(store) == "1.0.0"
    assert all(fault.times == 0 for fault in hub.faults)


@pytest.mark.faults
def test_a_storage_that_refuses_is_one_line_and_no_version(store: Store, hub: Hub) -> None:
    hub.fail("PUT", "^/lfs/", 403, times=100)
    result = runner.invoke(app, ["push-to-hub", "--repo", REPO, "--store", str(store.root)])
    assert result.exit_code == 2, result.output
    assert "403" in result.stderr or "write access" in result.stderr
    assert result.stderr.strip().count("\n") == 0 and not hub.repos[REPO].tags
    hub.faults.clear()
    assert push(store) == "1.0.0"


@pytest.mark.faults
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "log in with `hf auth login`"),
        (403, "write access"),
        (409, "has that already"),
        (412, "somebody else changed"),
        (429, "slow down"),
        (500, "later; it goes on"),
    ],
)
def test_every_refusal_is_one_line_that_says_what_to_do(store: Store, hub: Hub, status: int, message: str) -> None:
    hub.fail("POST", "/commit/", status, times=100)
    result = runner.invoke(app, ["push-to-hub", "--repo", REPO, "--store", str(store.root)])
    assert result.exit_code == 2, result.output
    assert message in result.stderr and result.stderr.strip().count("\n") == 0
    assert not hub.repos[REPO].tags


def test_without_a_token_and_with_a_wrong_one(
    store: Store, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak_to(hub, tmp_path / "hf2", monkeypatch, token=None)
    with pytest.raises(HubError, match="log in"):
        push(store, None)
    speak_to(hub, tmp_path / "hf3", monkeypatch, token="hf_wrong")
    with pytest.raises(HubError, match="does not know your token"):
        push(store, None)
    speak_to(hub, tmp_path / "hf4", monkeypatch, token="hf_reader")
    with pytest.raises(HubError, match="write access"):
        push(store)
    assert not hub.repos


def test_without_a_network_a_push_says_so_at_once(store: Store, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.server.shutdown()
    hub.server.server_close()
    monkeypatch.setattr(hub_client, "_answered", False)
    result = runner.invoke(app, ["push-to-hub", "--store", str(store.root)])
    assert result.exit_code == 2, result.output
    assert "the Hub cannot be reached for your account" in result.stderr and result.stderr.count("\n") == 1


def test_private_unless_public(store: Store, hub: Hub, filtered: FilterResult) -> None:
    push(store, "owner/open", public=True)
    assert not hub.repos["owner/open"].private
    filtered(store, train=6)
    with pytest.raises(SettingsError, match=r"owner/open is public.*--public"):
        push(store, "owner/open")
    push(store)
    assert hub.repos[REPO].private
    filtered(store, train=5)
    push(store, public=True)
    assert not hub.repos[REPO].private


def unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    known = concepts.find("church").model_copy(update={"unsafe": True})
    monkeypatch.setattr(concepts, "find", lambda _: known)


def test_an_unsafe_concept_is_gated_and_refuses_to_be_public(
    hub: Hub, filtered: FilterResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsafe(monkeypatch)
    store = filtered(Store(tmp_path / "store"))
    with pytest.raises(SettingsError, match="--i-know-this-is-unsafe"):
        push(store, public=True)
    push(store)
    repo = hub.repos[REPO]
    assert repo.private and repo.gated == "manual"
    lines = hub.log
    gate = next(place for place, line in enumerate(lines) if line.startswith("PUT") and line.endswith("/settings"))
    assert gate < next(place for place, line in enumerate(lines) if line.startswith("PUT /lfs/"))
    card = head(hub)
    assert "not-for-all-audiences" in card["tags"] and card["extra_gated_prompt"] and card["extra_gated_fields"]  # type: ignore[operator]
    push(store, "owner/known", public=True, unsafe_known=True)
    assert not hub.repos["owner/known"].private and hub.repos["owner/known"].gated == "manual"
    speak_to(hub, tmp_path / "hf2", monkeypatch, token="hf_reader")
    with pytest.raises(Exception, match=r"gated|restricted"):
        datasets.load_dataset("owner/known", "church")


def test_unsafe_pictures_can_stay_away(
    hub: Hub, filtered: FilterResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsafe(monkeypatch)
    store = filtered(Store(tmp_path / "store"))
    push(store, images=False)
    now = hub.repos[REPO].at("main")
    assert now is not None and not any(path.endswith(".png") for path in now.files)
    rows = datasets.load_dataset(REPO, "church", split="train")
    assert "target_image" not in rows.column_names and rows[0]["target"] and rows[0]["target_vq_ids"]


def test_what_people_wrote_into_the_card_survives(store: Store, hub: Hub, filtered: FilterResult) -> None:
    push(store)
    text = hub.text(REPO, "README.md")
    text = text.replace("license: other\nlicense_name: see-the-card\n", "license: mit\nfunding: a grant\n")
    text = text.replace("- ecgvf\n", "- ecgvf\n- mine\n") + "\n## Thanks\n\nTo all.\n"
    hub.write(REPO, "README.md", text)
    filtered(store, train=6)
    push(store)
    card = head(hub)
    assert card["license"] == "mit" and card["funding"] == "a grant" and "license_name" not in card
    assert "mine" in card["tags"]  # type: ignore[operator]
    body = hub.text(REPO, "README.md")
    assert body.endswith("\n## Thanks\n\nTo all.\n") and "| v1.1.0 |" in body and body.count("ecgvf:begin") == 1


def test_a_card_that_cannot_be_read_is_not_overwritten(store: Store, hub: Hub, filtered: FilterResult) -> None:
    push(store)
    hub.write(REPO, "README.md", "---\nlicense: [\n---\nMine.\n")
    filtered(store, train=6)
    with pytest.raises(DatasetError, match="cannot be read"):
        push(store)


def test_the_command_shows_before_it_uploads(store: Store, hub: Hub) -> None:
    result = runner.invoke(app, ["push-to-hub", "--dry-run", "--store", str(store.root)])
    assert result.exit_code == 0, result.output
    for part in ("owner/ecgvf", "private", "1.0.0", "church/train-00000-of-00001.parquet", "kB", "# Concept erasure"):
        assert part in result.stdout
    assert not hub.repos and not hub.count("^(POST|PUT) (?!/api/validate)")
    result = runner.invoke(app, ["push-to-hub", "--store", str(store.root), "--json"])
    told = json.loads(result.stdout)
    assert (told["repo"], told["version"], told["done"]) == ("owner/ecgvf", "1.0.0", "pushed")
    assert told["commit"] == hub.repos["owner/ecgvf"].head and told["dataset"] == "owner/ecgvf/church@v1.0.0"
    result = runner.invoke(app, ["push-to-hub", "--store", str(store.root)])
    assert result.exit_code == 0 and "Nothing to do" in result.stdout
    assert not [*store.root.glob("church/publish/*")]


def test_versions_and_diff(store: Store, hub: Hub, filtered: FilterResult) -> None:
    push(store)
    filtered(store, train=6)
    push(store)
    hub.repos[REPO].tags["v0.1.0"] = hub.repos[REPO].tags["v1.0.0"]
    listed = json.loads(runner.invoke(app, ["versions", REPO, "--json"]).stdout)["versions"]
    assert [one["version"] for one in listed] == ["1.1.0", "1.0.0", "0.1.0"]
    assert listed[0]["concepts"]["church"]["counts"] == {"train": 5, "test": 1, "rejected": 3}
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
    [again] = church["rejudged"]
    assert again["target"] == "a church by lake 3"
    assert (again["before"]["reason"], again["after"]["reason"]) == ("concept_leaked", None)
    assert any(line.startswith("pairs.pairs") for line in church["settings"])
    shown = runner.invoke(app, ["diff", f"{REPO}/church@v1.0.0", f"{REPO}/church@v1.1.0"]).stdout
    assert "+ a church by lake 4 | a hotel by lake 4" in shown and "concept_leaked → accepted" in shown
    same = runner.invoke(app, ["diff", f"{REPO}@v1.0.0", f"{REPO}@v1.0.0"]).stdout
    assert "church: nothing moved" in same


@pytest.mark.parametrize(("shift", "moved"), [(1e-8, 0), (0.1, 3)])
def test_scores_that_differ_by_rounding_are_not_judged_anew(
    store: Store, tmp_path: Path, shift: float, moved: int
) -> None:
    for name in ("first", "second"):
        assert runner.invoke(app, ["export", "--store", str(store.root), "--out", str(tmp_path / name)]).exit_code == 0
    [file] = tmp_path.glob("second/church/train-*.parquet")
    table = pq.read_table(file)
    place = table.column_names.index("target_score")
    scores = pc.subtract(table["target_score"], shift).cast(table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), scores), file)
    told = runner.invoke(app, ["diff", str(tmp_path / "first"), str(tmp_path / "second"), "--json"])
    assert len(json.loads(told.stdout)["concepts"][0]["rejudged"]) == moved


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["versions", "my-org/nothing"], "the Hub has no dataset my-org/nothing"),
        (["versions", "nothing"], "has no dataset nothing"),
        (["diff", f"{REPO}@v1.0.0", f"{REPO}@v9.0.0"], "has no version v9.0.0"),
        (["diff", "a", "b"], "names nothing on the Hub"),
        (["diff", f"{REPO}@v1.0.0", "my-org/foreign@main"], "not published by `ecgvf`"),
    ],
)
def test_bad_names_are_one_line(store: Store, hub: Hub, words: list[str], message: str) -> None:
    push(store)
    hub.repos["my-org/foreign"] = type(hub.repos[REPO])("my-org/foreign", False)
    hub.repos["my-org/foreign"].commit("initial commit", {})
    hub.write("my-org/foreign", "README.md", "A foreign one.")
    result = runner.invoke(app, words)
    assert result.exit_code == 2, result.output
    assert message in result.stderr and result.stderr.strip().count("\n") == 0
