"""The YAML at the top of a card: the fields that describe the data are generated, people's own fields stay."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from huggingface_hub import CardData, DatasetCard

from ecgvf.core.errors import DatasetError
from ecgvf.pairs.writer import IMPORT
from ecgvf.publish.catalogue import Catalogue, ConceptFacts, rejected_config
from ecgvf.publish.licence import licence
from ecgvf.publish.rows import features

PAPER = "https://arxiv.org/abs/2506.20151"

GATE = (
    "This dataset was made to remove an unsafe concept from image models. Its prompts, and its images if they are "
    "included, may be offensive. By requesting access you confirm that you are of age, that you use it only for "
    "research on safety, and that you will not pass it on."
)
GATE_FIELDS: dict[str, Any] = {
    "Name": "text",
    "Affiliation": "text",
    "What I will use it for": "text",
    "I am of age and accept the conditions above": "checkbox",
}

_SIZES = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6), ("1M<n<10M", 10**7))

# The Hub accepts white space before and after the dashes, `DatasetCard` neither that nor a byte order mark.
_OPENING = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n")

Fields = dict[str, Any]


def parse_card(text: str) -> tuple[Fields, str]:
    """The fields of a card's front matter, and the text below it. Raises ``DatasetError`` if it cannot be read."""
    if not _OPENING.match(text):
        return {}, text
    try:
        card = DatasetCard(_OPENING.sub("---\n", text))
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DatasetError("the YAML at the top of the card (README.md) cannot be read: correct it first") from error
    fields: Fields = card.data.to_dict()  # type: ignore[no-untyped-call]
    for name in ("configs", "dataset_info", "tags"):
        value = fields.get(name) or []
        items = value if isinstance(value, list) else [value]
        if name != "tags" and not all(isinstance(item, dict) and "config_name" in item for item in items):
            raise DatasetError(f"{name} at the top of the card (README.md) is not a list of configs: correct it first")
        if items:
            fields[name] = items
    return fields, str(card.text)


def format_card(fields: Fields, text: str) -> str:
    """The card with these fields and, below them, this text."""
    card = DatasetCard("---\n\n---\n")
    card.data, card.text = CardData(**fields), text
    return str(card)


def generate(catalogue: Catalogue, before: Fields, previous: Catalogue | None) -> Fields:
    """The fields for ``catalogue``; ``before`` are the fields of the card that was generated from ``previous``."""
    if previous is not None and previous.concepts:
        # What follows from all concepts together is generated anew, unless a person wrote something else.
        generated = {**_licence_fields(previous), "pretty_name": title(previous)}
        before = {name: value for name, value in before.items() if value != generated.get(name)}
    facts = catalogue.concepts.values()
    unsafe = any(concept.unsafe for concept in facts)
    tags = ["concept-erasure", "ecgvf", "autoregressive", *(["not-for-all-audiences"] if unsafe else [])]
    fields = {
        **({"license": before["license"]} if before.get("license") else _licence_fields(catalogue)),
        "language": before.get("language") or ["en"],
        "pretty_name": before.get("pretty_name") or title(catalogue),
        "annotations_creators": ["machine-generated"],
        "language_creators": language_creators(facts),
        "source_datasets": ["original"],
        "task_categories": before.get("task_categories") or ["text-to-image"],
        "size_categories": [size_category(sum(concept.rows for concept in facts))],
        "tags": list(dict.fromkeys([*(before.get("tags") or []), *tags])),
        **_configs(catalogue, before),
    }
    if unsafe:
        fields["extra_gated_prompt"] = before.get("extra_gated_prompt") or GATE
        fields["extra_gated_fields"] = before.get("extra_gated_fields") or GATE_FIELDS
    return {**{name: value for name, value in before.items() if name not in fields}, **fields}


def default_config(fields: Mapping[str, Any]) -> str | None:
    """The config that is marked as the default."""
    return next((str(config["config_name"]) for config in fields.get("configs") or [] if config.get("default")), None)


def licence_url(fields: Mapping[str, Any]) -> str:
    """Page of the licence, as the Hub's own Croissant links it; the paper's page if the licence has no name."""
    if link := fields.get("license_link"):
        return str(link)
    match fields.get("license"):
        case "cc-by-4.0":
            return "https://creativecommons.org/licenses/by/4.0/"
        case str(name) if name != "other":
            return f"https://choosealicense.com/licenses/{name}/"
    return PAPER


def size_category(rows: int) -> str:
    """The Hub's name for a number of rows."""
    return next((name for name, bound in _SIZES if rows < bound), "n>10M")


def title(catalogue: Catalogue) -> str:
    """Title of the card."""
    return f"Concept erasure pairs: {', '.join(catalogue.concepts)}"


def language_creators(concepts: Iterable[ConceptFacts]) -> list[str]:
    """The Hub's words for imported and written prompts."""
    imported = {writer.writer == IMPORT for facts in concepts for writer in facts.writers}
    return [name for name, is_import in (("found", True), ("machine-generated", False)) if is_import in imported]


def _licence_fields(catalogue: Catalogue) -> Fields:
    name, _ = licence(catalogue.concepts.values())
    return {"license": name, **({"license_name": "see-the-card"} if name == "other" else {})}


def _configs(catalogue: Catalogue, before: Fields) -> Fields:
    """``configs`` and ``dataset_info``: entries for other data stay, then follows one per config of ``catalogue``."""
    # A rejected config without rows goes with its concept.
    ours = {config for name in catalogue.concepts for config in (name, rejected_config(name))}
    ours |= {config.name for facts in catalogue.concepts.values() for config in facts.configs}
    configs = [config for config in before.get("configs") or [] if config["config_name"] not in ours]
    infos = [info for info in before.get("dataset_info") or [] if info["config_name"] not in ours]
    default = default_config(before) or next(iter(catalogue.concepts))
    for facts in catalogue.concepts.values():
        for config in facts.configs:
            files = [{"split": split.name, "path": f"{config.name}/{split.name}-*.parquet"} for split in config.splits]
            is_default = {"default": True} if config.name == default else {}
            configs.append({"config_name": config.name, "data_files": files, **is_default})
            infos.append(
                {
                    "config_name": config.name,
                    "features": features(
                        images=facts.images,
                        rejected=config.rejected,
                        older="validation" not in facts.counts,
                        retained="retain" in facts.counts,
                    )._to_yaml_list(),
                    "splits": [
                        {"name": split.name, "num_bytes": split.bytes, "num_examples": split.rows}
                        for split in config.splits
                    ],
                    "download_size": sum(split.download for split in config.splits),
                    "dataset_size": sum(split.bytes for split in config.splits),
                }
            )
    return {"configs": configs, "dataset_info": infos}
