"""The card is made from facts, escapes what it is told, and keeps what people wrote."""

from typing import Any

import pytest
import yaml

from ecgvf.core import concepts
from ecgvf.core.errors import DatasetError
from ecgvf.publish import card
from ecgvf.publish.catalogue import Catalogue, Facts, read
from tests.hub_server import wrong_in


def facts(name: str = "church", **changed: Any) -> Facts:
    """The facts of a small run of nano's by the offline writer."""
    writer = {"writer": "offline", "model_asked": "offline", "model_answered": "offline"}
    told: dict[str, Any] = {
        "fingerprint": "0123456789ab",
        "images": True,
        "unsafe": False,
        "concept": concepts.find("church").model_copy(update={"name": name}).model_dump(mode="json"),
        "model": "janus-nano",
        "renderer": "beef",
        "judge": "nano-object-a",
        "judge_hash": "cafe",
        "judge_labels": ["church"],
        "rule": "the rule",
        "sets": {"pairs": "1", "pictures": "2", "verdicts": "3", "acceptance": "4"},
        "settings": {
            "pairs": {"seed": 0},
            "pictures": {"sampling": {"guidance": 5.0, "temperature": 1.0}, "seed": 0},
            "verdicts": {},
        },
        "dates": {stage: ["2026-11-24"] for stage in ("pairs", "pictures", "verdicts")},
        "packages": {"ecgvf": "0.1.0"},
        "counts": {"train": 50, "test": 90, "rejected": 20},
        "reasons": {"target_absent": 20},
        "writers": [
            {
                **writer,
                "written": 160,
                "accepted": 140,
                "reasons": {"target_absent": 20},
                "templates": {"grammar": "f00"},
            }
        ],
        "configs": [
            {
                "name": name,
                "rejected": False,
                "splits": [
                    {"name": "train", "rows": 50, "bytes": 9, "download": 8, "files": [f"{name}/train-00000.parquet"]}
                ],
            }
        ],
    }
    return Facts.model_validate({**told, **changed})


def gpt(**changed: Any) -> Facts:
    """Castle, by GPT and Janus-Pro."""
    one = facts().writers[0].model_dump() | {"writer": "gpt", "model_asked": "gpt-6", "model_answered": "gpt-6"}
    return facts("castle", model="janus-pro-1b", writers=[one], **changed)


def head_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---")[1])
    return found


def test_a_licence_of_ours_follows_the_data_and_a_persons_stays() -> None:
    first = Catalogue().with_concept("church", facts())
    both = first.with_concept("castle", gpt())
    old = card.card(first)
    assert head_of(old)["license"] == "cc-by-4.0"
    new = head_of(card.card(both, before=old, previous=first))
    assert new["license"] == "other" and "castle" in new["pretty_name"]
    mine = old.replace("license: cc-by-4.0", "license: mit").replace("pretty_name: 'Concept", "pretty_name: 'My")
    kept = head_of(card.card(both, before=mine, previous=first))
    assert kept["license"] == "mit" and kept["pretty_name"].startswith("My")


def test_a_marker_that_is_lost_is_told_before_anything_is() -> None:
    old = card.card(Catalogue().with_concept("church", facts()))
    for broken in (old.replace(card.END, ""), old.replace(card.BEGIN, ""), f"{card.END}\n{old}"):
        with pytest.raises(DatasetError, match="ecgvf:begin"):
            card.card(Catalogue().with_concept("church", facts()), before=broken)


@pytest.mark.parametrize(
    "field", ["configs: [a]", "configs: {a: 1}", "dataset_info: [a]", "configs: [{default: true}]"]
)
def test_a_head_that_is_none_is_told(field: str) -> None:
    with pytest.raises(DatasetError, match="correct it first"):
        card.card(Catalogue().with_concept("church", facts()), before=f"---\n{field}\n---\n")


def test_a_single_tag_is_a_list_of_one() -> None:
    made = head_of(card.card(Catalogue().with_concept("church", facts()), before="---\ntags: mine\n---\n"))
    assert made["tags"][0] == "mine"


def test_peoples_prompts_are_called_theirs_and_nobodys_terms_apply() -> None:
    one = facts().writers[0].model_dump() | {"writer": "import", "model_asked": "claude-monet.csv"}
    made = card.card(Catalogue().with_concept("church", facts(writers=[one])))
    assert head_of(made)["language_creators"] == ["found"]
    assert "Anthropic" not in made and "Prompts come from the sources named above" in made


def test_a_version_that_is_no_version_is_refused() -> None:
    told = Catalogue().with_concept("church", facts()).with_version("1.0.0", "2026-11-24").text()
    for old, new in (("2026-11-24", "<script>"), ('"church": {\n', '"<b>": {\n')):
        with pytest.raises(DatasetError):
            read(told.replace(old, new), "here")


def of(*named: Facts, **options: Any) -> str:
    catalogue = Catalogue()
    for one in named:
        catalogue = catalogue.with_concept(one.concept["name"], one)
    return card.card(catalogue, **options)


def head(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---")[1])
    return found


def test_the_yaml_is_valid_by_the_hubs_rules_and_says_what_is_there() -> None:
    told = head(of(facts(), facts("castle")))
    assert wrong_in(told) == []
    assert told["annotations_creators"] == ["machine-generated"] and told["task_categories"] == ["text-to-image"]
    assert [one["config_name"] for one in told["configs"]] == ["castle", "church"]
    assert [one.get("default", False) for one in told["configs"]] == [True, False]
    assert [one["config_name"] for one in told["dataset_info"]] == ["castle", "church"]
    assert "not-for-all-audiences" not in told["tags"]


@pytest.mark.parametrize(
    ("rows", "category"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**6, "1M<n<10M")]
)
def test_the_size_category_is_the_hubs(rows: int, category: str) -> None:
    assert card.size_category(rows) == category


def test_the_body_tells_how_it_was_made() -> None:
    text = of(facts(), repo="my-org/ecgvf")
    for part in (
        "2506.20151",
        "janus-nano",
        "`beef`",
        "nano-object-a",
        "`cafe`",
        "the rule",
        "88%",
        "20 target",
        "`f00`",
    ):
        assert part in text
    for part in (
        "2026-11-24",
        'load_dataset("my-org/ecgvf", "church")',
        "## Known biases and limits",
        "{{EAR}: Erasing",
    ):
        assert part in text


def test_text_of_models_and_users_is_no_markup() -> None:
    evil = "[x](javascript:alert) <script>|\n# head `code`"
    writer = {"writer": "import", "model_asked": evil, "model_answered": evil, "written": 1, "accepted": 1}
    told = facts(writers=[{**writer, "reasons": {}, "templates": {"a`b|c\nd": "e`f"}}], model=evil)
    text = of(told)
    assert "<script>" not in text.split("---", 2)[2] and "[x](" not in text and "\n# head" not in text
    assert "a b c d" in text and "`e f`" in text


def test_nano_is_called_nano_and_its_drawings_are_credited() -> None:
    text = of(facts())
    assert head(text)["license"] == "cc-by-4.0" and "Twemoji" in text and "no figures of Janus-Pro" in text


@pytest.mark.parametrize(
    ("model", "provider"),
    [("gpt-5", "openai"), ("claude-opus-5", "anthropic"), ("gemini-3-pro", "google"), ("kimi-k2", "moonshot")],
)
def test_the_terms_of_those_who_wrote_apply(model: str, provider: str) -> None:
    writer = {"writer": provider, "model_asked": model, "model_answered": model, "written": 1, "accepted": 1}
    text = of(facts(writers=[{**writer, "reasons": {}, "templates": {"object/pairs": "0"}}]))
    assert head(text)["license"] == "other" and card.TERMS[provider] in text
    assert not any(terms in text for name, terms in card.TERMS.items() if name != provider)


@pytest.mark.parametrize("in_front", ["", "\n", "\ufeff", " \n\n"])
def test_what_is_not_ours_stays(in_front: str) -> None:
    mine = {
        "license": "mit",
        "tags": ["mine"],
        "arxiv": "1",
        "configs": [{"config_name": "extra", "data_files": "x.csv"}],
    }
    before = f"{in_front}---\n{yaml.safe_dump(mine)}---\nMy words.\n"
    once = of(facts(), before=before)
    again = of(facts(), before=once)
    assert again == once
    told = head(again)
    assert told["license"] == "mit" and told["tags"][0] == "mine" and told["arxiv"] == "1"
    assert [one["config_name"] for one in told["configs"]] == ["extra", "church"]
    assert "My words.\n" in again and again.count(card.END) == 1


def test_an_unsafe_concept_is_marked_and_gated() -> None:
    told = head(of(facts(unsafe=True)))
    assert "not-for-all-audiences" in told["tags"] and told["extra_gated_prompt"] and told["extra_gated_fields"]
    assert "**Unsafe.**" in of(facts(unsafe=True)) and "blurred" in of(facts(unsafe=True))


def test_a_catalogue_from_elsewhere_is_checked() -> None:
    text = Catalogue().with_concept("church", facts()).with_version("1.0.0", "2026-11-24").text()
    assert read(text, "here").versions[0].concepts["church"].fingerprint == "0123456789ab"
    for wrong in (
        "{",
        '{"format": 2}',
        text.replace('"fingerprint": "0123456789ab",', "", 1),
        text.replace("church", "../x"),
    ):
        with pytest.raises(DatasetError, match="here"):
            read(wrong, "here")
