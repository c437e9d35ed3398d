"""Build nano from scratch, part by part; an interrupted part resumes from its last checkpoint."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from ecgvf.core.errors import SettingsError
from tools.nano import PARTS, attribute_judges, clip, codec, judges, language_model, second_judges, vision
from tools.nano.card import write_card
from tools.nano.check import check
from tools.nano.frozen_codec import Codec
from tools.nano.language_model import build_model
from tools.nano.tokenizer import processor, train_tokenizer


def build(work: Path, out: Path, parts: tuple[str, ...] = PARTS, *, language_model_seconds: float = 3600.0) -> None:
    """Build `parts` in `work` and write Janus-nano, its judges, CLIP and card to `out`.

    Raises ``SettingsError`` if a part that is not built yet is needed.
    """
    work.mkdir(parents=True, exist_ok=True)
    record = _Record(work / "record.json")
    tokenizer_dir = work / "tokenizer"
    if "tokenizer" in parts and not tokenizer_dir.exists():
        train_tokenizer().save_pretrained(tokenizer_dir)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(_built(tokenizer_dir, "tokenizer"))
    if "codec" in parts:
        codec.train(work / "codec", seconds_plain=240, seconds_quantised=600)
    torch.manual_seed(0)
    model = build_model(tokenizer)
    if "vision" in parts and not (work / "vision.pt").exists():
        record["vision"] = vision.train(model.model.vision_model, work / "vision", seconds=180)
        torch.save(model.model.vision_model.state_dict(), work / "vision.pt")
    for name in judges.JUDGES:
        if "judges" in parts and f"judge:{name}" not in record:
            # Styles are easier to classify than things.
            pool = 5_000 if name == "style" else 14_000
            record[f"judge:{name}"] = judges.train_judge(name, out / "judges", pool=pool)
    if "clip" in parts and "clip" not in record:
        record["clip"] = clip.train_clip(tokenizer, work / "clip", out / "clip", seconds=240)
    if "language-model" in parts or "save" in parts:
        _load_pretrained(model, work)
    if "language-model" in parts:
        language_model.train(model, tokenizer, work / "language-model", seconds=language_model_seconds)
    if "save" in parts:
        state = torch.load(_built(work / "language-model" / "checkpoint.pt", "language-model"), weights_only=True)
        model.load_state_dict(state["model"])
        save(model, out)
        processor(tokenizer).save_pretrained(out)
        record["language-model"] = {"seconds": round(state["spent"]), "steps": state["step"]}
        for part in ("codec", "language-model"):
            log = work / part / "log.jsonl"
            if log.exists():
                record[part] = record.get(part, {}) | json.loads(log.read_text().splitlines()[-1])
    if "second-judges" in parts:
        images = second_judges.build_pool(work / "second-judges" / "pool.npz", _shipped_codec(out))
        for second in second_judges.SECOND_JUDGES:
            if f"judge:{second}" not in record:
                trained = second_judges.train_second_judge(second, images, work / "second-judges", out / "judges")
                record[f"judge:{second}"] = trained
    untrained = [name for name in attribute_judges.ATTRIBUTE_JUDGES if f"judge:{name}" not in record]
    if "attribute-judges" in parts and untrained:
        scenes = attribute_judges.build_pool(_shipped_codec(out))
        for name in untrained:
            record[f"judge:{name}"] = attribute_judges.train_attribute_judge(name, scenes, out / "judges")
    if "card" in parts:
        write_card(out, record, check(str(out)))


def _built(path: Path, part: str) -> Path:
    """`path`, which `part` writes. Raises ``SettingsError`` if it is missing."""
    if not path.exists():
        raise SettingsError(f"{path} is missing: run `python -m tools.nano build --part {part}` first")
    return path


def _shipped_codec(out: Path) -> Codec:
    """The codec of the model in `out`, which part ``save`` writes."""
    _built(out / "model.safetensors", "save")
    return Codec(JanusForConditionalGeneration.from_pretrained(out, dtype="float32").model.vqmodel)


def _load_pretrained(model: JanusForConditionalGeneration, work: Path) -> None:
    """Load the codec and the vision tower into the model."""
    trained = torch.load(_built(work / "codec" / "checkpoint.pt", "codec"), weights_only=True)["codec"]
    language_model.load_codec(model, trained)
    model.model.vision_model.load_state_dict(torch.load(_built(work / "vision.pt", "vision"), weights_only=True))


def save(model: JanusForConditionalGeneration, out: Path) -> None:
    """Save the model in half precision."""
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    model.float()


class _Record(dict[str, Any]):
    """Training record of each part, saved on every assignment and copied into the card."""

    def __init__(self, path: Path) -> None:
        super().__init__(json.loads(path.read_text()) if path.exists() else {})
        self.path = path

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.path.write_text(json.dumps(self, indent=1) + "\n")
