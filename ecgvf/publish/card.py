"""The card (README.md): made from the facts of the runs; what people wrote by hand stays.

The made part stands between two markers, everything outside belongs to whoever wrote it. Of the YAML, the fields that
describe the data are made; a licence, tags and fields of people's own stay as they are.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

from ecgvf.core.errors import DatasetError
from ecgvf.pairs.importing import WRITER as IMPORT
from ecgvf.publish.catalogue import Catalogue, Facts

PAPER = "https://arxiv.org/abs/2506.20151"

BEGIN = "<!-- ecgvf:begin (made from the run: write above or below, what stands between is made anew by every push) -->"
END = "<!-- ecgvf:end -->"

SUMMARY = (
    "Pairs of prompts that differ by one concept, and what an autoregressive image model drew of both from one seed: "
    "data to erase a concept from such a model, and to measure that it is gone."
)

CITATION = """\
@misc{fan2025ear,
  title         = {{EAR}: Erasing Concepts from Unified Autoregressive Models},
  author        = {Fan, Haipeng and Zhang, Shiyuan and Baohunesitu and Guo, Zihang and Zhang, Huaiwen},
  year          = {2025},
  eprint        = {2506.20151},
  archivePrefix = {arXiv},
  url           = {https://arxiv.org/abs/2506.20151}
}"""

GATE = (
    "This dataset was made to remove an unsafe concept from image models. Its prompts, and its pictures where they are "
    "included, may be offensive. By asking for access you say that you are of age, and that you use it for research on "
    "safety alone and pass it on to nobody."
)
GATE_FIELDS: dict[str, Any] = {
    "Name": "text",
    "Affiliation": "text",
    "What I will use it for": "text",
    "I am of age and accept the conditions above": "checkbox",
}

TERMS = {
    "openai": "OpenAI wrote prompts of this dataset: its [terms of use](https://openai.com/policies/) apply, which "
    "among other things forbid to train models with the output that compete with OpenAI.",
    "anthropic": "Anthropic's Claude wrote prompts of this dataset: Anthropic's "
    "[commercial terms](https://www.anthropic.com/legal/commercial-terms) and "
    "[usage policy](https://www.anthropic.com/legal/aup) apply, which among other things forbid to train models with "
    "the output that compete with Anthropic.",
    "google": "Google's Gemini wrote prompts of this dataset: the "
    "[Gemini API additional terms](https://ai.google.dev/gemini-api/terms) apply, which among other things forbid to "
    "train models with the output that compete with Google.",
    "deepseek": "DeepSeek wrote prompts of this dataset: its "
    "[terms of use](https://cdn.deepseek.com/policies/en-US/deepseek-terms-of-use.html) apply.",
    "moonshot": "Moonshot AI's Kimi wrote prompts of this dataset: the terms of its open platform apply.",
    "doubao": "ByteDance's Doubao wrote prompts of this dataset: the terms of Volcano Engine apply.",
}
"""Provider → what its terms say of what its models wrote."""

_FAMILIES = {
    "openai": ("openai", "gpt"),
    "anthropic": ("anthropic", "claude"),
    "google": ("google", "gemini"),
    "deepseek": ("deepseek",),
    "moonshot": ("moonshot", "kimi"),
    "doubao": ("doubao",),
}

_SIZES = (("n<1K", 10**3), ("1K<n<10K", 10**4), ("10K<n<100K", 10**5), ("100K<n<1M", 10**6), ("1M<n<10M", 10**7))

# The Hub's own pattern allows white space in front of it, too.
_HEAD = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


def card(
    catalogue: Catalogue, *, repo: str | None = None, before: str | None = None, previous: Catalogue | None = None
) -> str:
    """The text of README.md for ``catalogue``; ``before`` is the one it takes the place of, made from ``previous``.

    Raises ``DatasetError`` where the YAML of ``before`` or its markers cannot be read: guessing would lose what a
    person wrote.
    """
    head, text = _taken_apart(before) if before is not None else ({}, "")
    if previous is not None and previous.concepts:
        head = {key: value for key, value in head.items() if value != _made_of_the_whole(previous).get(key)}
    made = f"{BEGIN}\n{_body(catalogue, repo)}{END}\n"
    if BEGIN[:18] in text or END in text:
        start, stop = text.find(BEGIN[:18]), text.find(END) + len(END)
        if start < 0 or stop < start + len(END) or text.count(BEGIN[:18]) + text.count(END) != 2:
            raise DatasetError(
                "the card (README.md) lost one of its lines ecgvf:begin and ecgvf:end: put it back first"
            )
        text = f"{text[:start]}{made.rstrip()}{text[stop:]}"
    else:
        text = f"{text.rstrip()}\n\n{made}" if text.strip() else f"\n{made}"
    dumped = yaml.safe_dump(_head(catalogue, head, repo), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{dumped}---\n{text}"


def licence_url(text: str) -> str:
    """Where the licence that a card's YAML names can be read, as the Hub's own Croissant links it; the paper's page
    stands for one that has no name. Raises ``DatasetError`` for YAML that cannot be read."""
    head = _taken_apart(text)[0]
    if link := head.get("license_link"):
        return str(link)
    match head.get("license"):
        case "cc-by-4.0":
            return "https://creativecommons.org/licenses/by/4.0/"
        case str(name) if name != "other":
            return f"https://choosealicense.com/licenses/{name}/"
    return PAPER


def default_config(text: str) -> str | None:
    """The config that a card's YAML marks as the default. Raises ``DatasetError`` for YAML that cannot be read."""
    return _marked(_taken_apart(text)[0])


def size_category(rows: int) -> str:
    """The Hub's word for a number of rows."""
    return next((name for name, bound in _SIZES if rows < bound), "n>10M")


def _taken_apart(text: str) -> tuple[dict[str, Any], str]:
    found = _HEAD.match(text)
    if found is None:
        return {}, text
    try:
        head = yaml.safe_load(found[1]) or {}
    except yaml.YAMLError as error:
        raise DatasetError("the YAML at the top of the card (README.md) cannot be read: correct it first") from error
    if not isinstance(head, dict):
        raise DatasetError("the YAML at the top of the card (README.md) is no mapping: correct it first")
    for field, several in (("configs", True), ("dataset_info", True), ("tags", False)):
        held = head.get(field) or []
        held = held if isinstance(held, list) else [held]
        if several and not all(isinstance(one, dict) and "config_name" in one for one in held):
            raise DatasetError(f"{field} at the top of the card (README.md) is no list of configs: correct it first")
        if held:
            head[field] = held
    return head, text[found.end() :]


def _made_of_the_whole(catalogue: Catalogue) -> dict[str, Any]:
    """The fields that are made anew from all concepts together, unless a person wrote something else."""
    licence = _licence(catalogue.concepts.values())[0]
    return {
        "license": licence,
        "pretty_name": _title(catalogue),
        **({"license_name": "see-the-card"} if licence == "other" else {}),
    }


def _head(catalogue: Catalogue, before: Mapping[str, Any], repo: str | None) -> dict[str, Any]:
    from ecgvf.publish.rows import features

    concepts = catalogue.concepts
    ours = {config.name for facts in concepts.values() for config in facts.configs}
    # A twin that has no rows any more goes with its concept.
    ours |= {f"{name}{end}" for name in concepts for end in ("", "-rejected")}
    foreign = [one for one in before.get("configs") or [] if one.get("config_name") not in ours]
    infos = [one for one in before.get("dataset_info") or [] if one.get("config_name") not in ours]
    chosen = _default(catalogue, before)
    configs = list(foreign)
    for facts in concepts.values():
        for config in facts.configs:
            files = [{"split": split.name, "path": f"{config.name}/{split.name}-*.parquet"} for split in config.splits]
            default = {"default": True} if config.name == chosen else {}
            configs.append({"config_name": config.name, "data_files": files, **default})
            infos.append(
                {
                    "config_name": config.name,
                    "features": features(images=facts.images, rejected=config.rejected)._to_yaml_list(),
                    "splits": [
                        {"name": split.name, "num_bytes": split.bytes, "num_examples": split.rows}
                        for split in config.splits
                    ],
                    "download_size": sum(split.download for split in config.splits),
                    "dataset_size": sum(split.bytes for split in config.splits),
                }
            )
    unsafe = any(facts.unsafe for facts in concepts.values())
    tags = ["concept-erasure", "ecgvf", "autoregressive", *(["not-for-all-audiences"] if unsafe else [])]
    made = {
        "license": before.get("license") or _licence(concepts.values())[0],
        **(
            {"license_name": "see-the-card"}
            if "license" not in before and _licence(concepts.values())[0] == "other"
            else {}
        ),
        "language": before.get("language") or ["en"],
        "pretty_name": before.get("pretty_name") or _title(catalogue),
        "annotations_creators": ["machine-generated"],
        "language_creators": _language_creators(concepts.values()),
        "source_datasets": ["original"],
        "task_categories": before.get("task_categories") or ["text-to-image"],
        "size_categories": [size_category(sum(facts.rows for facts in concepts.values()))],
        "tags": list(dict.fromkeys([*(before.get("tags") or []), *tags])),
        "configs": configs,
        "dataset_info": infos,
    }
    if unsafe:
        made |= {
            "extra_gated_prompt": before.get("extra_gated_prompt") or GATE,
            "extra_gated_fields": before.get("extra_gated_fields") or GATE_FIELDS,
        }
    return {**{key: value for key, value in before.items() if key not in made}, **made}


def _default(catalogue: Catalogue, before: Mapping[str, Any]) -> str:
    """The config that is loaded where none is named: the one it was, or the first concept."""
    return _marked(before) or next(iter(catalogue.concepts))


def _marked(head: Mapping[str, Any]) -> str | None:
    return next((str(one["config_name"]) for one in head.get("configs") or [] if one.get("default")), None)


def _body(catalogue: Catalogue, repo: str | None) -> str:
    concepts = catalogue.concepts
    return (
        _template()
        .render(
            title=_title(catalogue),
            summary=SUMMARY,
            citation=CITATION,
            paper=PAPER,
            repo=repo,
            names=list(concepts),
            concepts=concepts,
            versions=catalogue.versions,
            reviewed=any(facts.reviewed for facts in concepts.values()),
            imported="found" in _language_creators(concepts.values()),
            limits=_limits(concepts.values()),
            licence=_licence(concepts.values())[1],
            providers=[TERMS[family] for family in _providers(concepts.values())],
        )
        .rstrip()
        + "\n\n"
    )


def _language_creators(concepts: Iterable[Facts]) -> list[str]:
    imported = {one.writer == IMPORT for facts in concepts for one in facts.writers}
    return [name for name, there in (("found", True), ("machine-generated", False)) if there in imported]


def _title(catalogue: Catalogue) -> str:
    return f"Concept erasure pairs: {', '.join(catalogue.concepts)}"


def _is_nano(facts: Facts) -> bool:
    return facts.model == "janus-nano"


def _limits(concepts: Iterable[Facts]) -> list[str]:
    known = list(concepts)
    limits = []
    if any(_is_nano(facts) for facts in known):
        limits.append(
            "Janus-nano draws a miniature world of some thirty things at 64 px. Its pictures and every figure measured "
            "on them are nano's, and are no figures of Janus-Pro."
        )
    if any(one.writer == "offline" for facts in known for one in facts.writers):
        limits.append("The offline writer is a grammar: its prompts vary less than an LLM's or a person's.")
    return limits


def _licence(concepts: Iterable[Facts]) -> tuple[str, str]:
    """The licence's name on the Hub, and what the card says of it."""
    known = list(concepts)
    offline = all(one.writer == "offline" for facts in known for one in facts.writers)
    if offline and all(_is_nano(facts) for facts in known):
        return "cc-by-4.0", (
            "[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/). The prompts come from a grammar under "
            "Apache-2.0. The pictures are by Janus-nano, which learnt from emoji drawings by Google (Noto Emoji, "
            "Apache-2.0), Microsoft (Fluent Emoji, MIT), Twitter and other contributors (Twemoji, CC BY 4.0) and "
            "Emoji One (EmojiOne 1 to 2, CC BY 4.0): keep naming them."
        )
    return "other", (
        "The terms of the models that wrote and drew apply to what they made; the publisher of this dataset may state "
        "a licence for the rest by `license:` at the top of this card, which later pushes keep."
        + ("" if offline else " Terms of those who wrote prompts:" if _providers(known) else "")
    )


def _providers(concepts: Iterable[Facts]) -> list[str]:
    names = " ".join(
        f"{one.writer} {one.model_asked} {one.model_answered}".lower()
        for facts in concepts
        for one in facts.writers
        if one.writer != IMPORT
    )
    return [family for family, words in _FAMILIES.items() if any(word in names for word in words)]


@lru_cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters |= {
        "md": _plain,
        "code": lambda text: re.sub(r"[`|\s]", " ", str(text)),
        "counts": lambda counts: ", ".join(f"{count} {name}" for name, count in counts.items()) or "none",
        "settings": lambda settings: ", ".join(f"{name} {value:g}" for name, value in settings.items()),
        "total": lambda concepts, which: sum(one.counts.get(which, 0) for one in concepts.values()),
    }
    return environment.from_string((Path(__file__).parent / "card.md.j2").read_text(encoding="utf-8"))


def _plain(text: object) -> str:
    """Foreign text as Markdown shows it: no markup, no HTML, one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", " ".join(str(text).split()))
