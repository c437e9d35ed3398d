"""The card: generated from facts, untrusted text escaped, people's own text and fields kept."""

from typing import Any

import pytest
import yaml

from ecgvf.core import concepts
from ecgvf.core.errors import DatasetError
from ecgvf.publish.card import BEGIN, END, write_card
from ecgvf.publish.catalogue import Catalogue, ConceptFacts
from ecgvf.publish.front_matter import size_category
from ecgvf.publish.licence import TERMS
from tests.hub_server import card_errors


def facts(name: str = "church", **changed: Any) -> ConceptFacts:
    """Facts of a small run of Janus-nano, with pairs by the offline writer."""
    writer = {"writer": "offline", "model_asked": "offline", "model_answered": "offline"}
    defaults: dict[str, Any] = {
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
    return ConceptFacts.model_validate({**defaults, **changed})


def gpt_facts() -> ConceptFacts:
    """Facts of castle, with pairs by GPT and images by Janus-Pro."""
    writer = facts().writers[0].model_dump() | {"writer": "gpt", "model_asked": "gpt-6", "model_answered": "gpt-6"}
    return facts("castle", model="janus-pro-1b", writers=[writer])


def card(*concepts: ConceptFacts, **options: Any) -> str:
    """The card of a repository with ``concepts``."""
    return write_card(catalogue(*concepts), **options)


def catalogue(*concepts: ConceptFacts) -> Catalogue:
    result = Catalogue()
    for concept in concepts:
        result = result.with_concept(concept.concept["name"], concept)
    return result


def front_matter(text: str) -> dict[str, Any]:
    fields: dict[str, Any] = yaml.safe_load(text.split("---")[1])
    return fields


def test_a_generated_licence_follows_the_data_and_a_handwritten_one_stays() -> None:
    previous = catalogue(facts())
    old = write_card(previous)
    assert front_matter(old)["license"] == "cc-by-4.0"
    new = front_matter(card(facts(), gpt_facts(), before=old, previous=previous))
    assert new["license"] == "other" and "castle" in new["pretty_name"]
    edited = old.replace("license: cc-by-4.0", "license: mit").replace("pretty_name: 'Concept", "pretty_name: 'My")
    kept = front_matter(card(facts(), gpt_facts(), before=edited, previous=previous))
    assert kept["license"] == "mit" and kept["pretty_name"].startswith("My")


def test_files_from_before_there_was_validation_keep_their_columns() -> None:
    counts = {"train": 50, "validation": 90, "test": 90, "rejected": 20}
    text = card(facts(), facts("castle", counts=counts, test_openings=3))
    columns = {
        info["config_name"]: {feature["name"] for feature in info["features"]}
        for info in front_matter(text)["dataset_info"]
    }
    assert columns["castle"] - columns["church"] == {"split", "wording"}
    assert "| church | object | 50 | 0 | 90 | 20 |" in text and "| castle | object | 50 | 90 | 90 | 20 |" in text
    assert "The **test split** had not been opened when this was published." in text
    assert "The **test split** was opened 3 times before this was published (`castle/test_openings.jsonl`)." in text


def test_a_lost_marker_is_an_error() -> None:
    old = card(facts())
    for damaged in (old.replace(END, ""), old.replace(BEGIN, ""), f"{END}\n{old}"):
        with pytest.raises(DatasetError, match="ecgvf:begin"):
            card(facts(), before=damaged)


@pytest.mark.parametrize(
    "yaml_text",
    ["configs: [a]", "configs: {a: 1}", "dataset_info: [a]", "configs: [{default: true}]", "[", "just text", "1: one"],
)
def test_an_unreadable_front_matter_is_an_error(yaml_text: str) -> None:
    with pytest.raises(DatasetError, match="correct it first"):
        card(facts(), before=f"---\n{yaml_text}\n---\n")


def test_a_single_tag_is_a_list_of_one() -> None:
    assert front_matter(card(facts(), before="---\ntags: mine\n---\n"))["tags"][0] == "mine"


def test_imported_prompts_have_a_source_and_no_providers_terms() -> None:
    writer = facts().writers[0].model_dump() | {"writer": "import", "model_asked": "claude-monet.csv"}
    text = card(facts(writers=[writer]))
    assert front_matter(text)["language_creators"] == ["found"]
    assert "Anthropic" not in text and "Prompts come from the sources named above" in text


def test_an_invalid_version_is_an_error() -> None:
    text = catalogue(facts()).with_version("1.0.0", "2026-11-24").text()
    for old, new in (("2026-11-24", "<script>"), ('"church": {\n', '"<b>": {\n')):
        with pytest.raises(DatasetError):
            Catalogue.parse(text.replace(old, new), "FILE")


def test_the_front_matter_follows_the_hubs_rules_and_lists_the_configs() -> None:
    fields = front_matter(card(facts(), facts("castle")))
    assert card_errors(fields) == []
    assert fields["annotations_creators"] == ["machine-generated"] and fields["task_categories"] == ["text-to-image"]
    assert [config["config_name"] for config in fields["configs"]] == ["castle", "church"]
    assert [config.get("default", False) for config in fields["configs"]] == [True, False]
    assert [info["config_name"] for info in fields["dataset_info"]] == ["castle", "church"]
    assert "not-for-all-audiences" not in fields["tags"]


@pytest.mark.parametrize(
    ("rows", "category"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**6, "1M<n<10M")]
)
def test_size_category(rows: int, category: str) -> None:
    assert size_category(rows) == category


def test_the_body_states_how_the_dataset_was_made() -> None:
    text = card(facts(), repo="my-org/ecgvf")
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
        "2026-11-24",
        'load_dataset("my-org/ecgvf", "church")',
        "## Known biases and limits",
        "{{EAR}: Erasing",
    ):
        assert part in text


def test_text_of_models_and_users_is_escaped() -> None:
    evil = "[x](javascript:alert) <script>|\n# head `code`"
    writer = {"writer": "import", "model_asked": evil, "model_answered": evil, "written": 1, "accepted": 1}
    text = card(facts(writers=[{**writer, "reasons": {}, "templates": {"a`b|c\nd": "e`f"}}], model=evil))
    assert "<script>" not in text.split("---", 2)[2] and "[x](" not in text and "\n# head" not in text
    assert "a b c d" in text and "`e f`" in text


def test_nano_is_named_and_its_emoji_are_credited() -> None:
    text = card(facts())
    assert front_matter(text)["license"] == "cc-by-4.0" and "Twemoji" in text and "no figures of Janus-Pro" in text


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-5", "openai"),
        ("o4-mini", "openai"),
        ("claude-opus-5", "anthropic"),
        ("gemini-3-pro", "google"),
        ("kimi-k2", "moonshot"),
    ],
)
def test_the_terms_of_the_providers_are_stated(model: str, provider: str) -> None:
    writer = {"writer": "mine", "model_asked": model, "model_answered": model, "written": 1, "accepted": 1}
    text = card(facts(writers=[{**writer, "reasons": {}, "templates": {"object/pairs": "0"}}]))
    assert front_matter(text)["license"] == "other"
    assert [name for name, terms in TERMS.items() if terms in text] == [provider]


@pytest.mark.parametrize(
    ("opening", "line_break"),
    [("---", "\n"), ("\n---", "\n"), ("\ufeff---", "\n"), (" \n\n---", "\n"), ("---  ", "\n"), ("---", "\r\n")],
)
def test_handwritten_fields_and_text_stay(opening: str, line_break: str) -> None:
    own = {
        "license": "mit",
        "tags": ["mine"],
        "arxiv": "1",
        "configs": [{"config_name": "extra", "data_files": "x.csv"}],
    }
    before = f"{opening}\n{yaml.safe_dump(own)}---\nMy words.\n".replace("\n", line_break)
    once = card(facts(), before=before)
    twice = card(facts(), before=once)
    assert twice == once
    fields = front_matter(twice)
    assert fields["license"] == "mit" and fields["tags"][0] == "mine" and fields["arxiv"] == "1"
    assert [config["config_name"] for config in fields["configs"]] == ["extra", "church"]
    assert "\nMy words.\n" in twice and twice.count(END) == 1


def test_an_unsafe_concept_is_marked_and_gated() -> None:
    text = card(facts(unsafe=True))
    fields = front_matter(text)
    assert "not-for-all-audiences" in fields["tags"] and fields["extra_gated_prompt"] and fields["extra_gated_fields"]
    assert "**Unsafe.**" in text and "blurred" in text


def test_a_catalogue_is_validated() -> None:
    text = catalogue(facts()).with_version("1.0.0", "2026-11-24").text()
    assert Catalogue.parse(text, "FILE").versions[0].concepts["church"].fingerprint == "0123456789ab"
    found = Catalogue.parse(text.replace('"train": 50', '"validation": 50'), "FILE")  # of somebody's making
    assert write_card(found)
    for invalid in (
        "{",
        '{"format": 2}',
        text.replace('"fingerprint": "0123456789ab",', "", 1),
        text.replace("church", "../x"),
        text.replace('"name": "church",\n          "rejected"', '"name": "../..",\n          "rejected"'),
        text.replace("0123456789ab", "../.."),
        text.replace('"rejected": 20', '"calibration": 20'),
        text.replace('"written": 160', '"written": 0'),
        text.replace('"description":', '"about":'),
        text.replace('"kind": "object"', '"kind": ["object"]'),
        text.replace('"sampling": {', '"samples": {'),
        text.replace('"verdicts": [', '"judged": ['),
    ):
        assert invalid != text
        with pytest.raises(DatasetError, match="FILE"):
            Catalogue.parse(invalid, "FILE")
