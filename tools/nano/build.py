"""Build nano from scratch, part by part; an interrupted part resumes from its last checkpoint."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from ecgvf.core.errors import SettingsError
from ecgvf.core.files import write_atomic
from tools.nano import PARTS, attribute_judges, clip, codec, judges, language_model, second_judges, vision
from tools.nano.card import write_card
from tools.nano.check import check
from tools.nano.frozen_codec import Codec
from tools.nano.language_model import build_model
from tools.nano.tokenizer import processor, train_tokenizer
from tools.nano.training_loop import save_atomic, spent

CODEC_SECONDS_PLAIN, CODEC_SECONDS_QUANTISED = 240, 600
RECORDED = {
    "codec": "save",
    "vision": "vision",
    "clip": "clip",
    "language-model": "save",
    **{f"judge:{name}": "judges" for name in judges.JUDGES},
    **{f"judge:{name}": "second-judges" for name in second_judges.SECOND_JUDGES},
    **{f"judge:{name}": "attribute-judges" for name in attribute_judges.ATTRIBUTE_JUDGES},
}
"""What the card tells of each training → the part that records it."""


def build(work: Path, out: Path, parts: tuple[str, ...] = PARTS, *, language_model_seconds: float = 3600.0) -> None:
    """Build `parts` in `work` and write Janus-nano, its judges, CLIP and card to `out`.

    What is finished is not made again. Raises ``SettingsError`` if a part that is not built yet is needed.
    """
    work.mkdir(parents=True, exist_ok=True)
    record = _Record(work / "record.json")
    lacking = [name for name, part in RECORDED.items() if name not in record and part not in parts]
    if "card" in parts and lacking:
        raise SettingsError(
            f"{record.path} lacks {', '.join(lacking)}, and the card would, too: name the --work of the whole build"
        )
    if "tokenizer" in parts:
        _train_tokenizer(work / "tokenizer")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(_built(work / "tokenizer", "tokenizer"))
    if "codec" in parts and spent(work / "codec") < CODEC_SECONDS_PLAIN + CODEC_SECONDS_QUANTISED:
        codec.train(work / "codec", seconds_plain=CODEC_SECONDS_PLAIN, seconds_quantised=CODEC_SECONDS_QUANTISED)
    torch.manual_seed(0)
    model = build_model(tokenizer)
    if "vision" in parts and not (work / "vision.pt").exists():
        tower = model.model.vision_model
        record["vision"] = vision.train(tower, work / "vision", vision.training_pool(), seconds=180)
        save_atomic(tower.state_dict(), work / "vision.pt")
    if "judges" in parts:
        _train_judges(out, record)
    if "clip" in parts and not record.has("clip", out / "clip"):
        record["clip"] = clip.train_clip(tokenizer, work / "clip", out / "clip", seconds=240)
    if "language-model" in parts or "save" in parts:
        torch.manual_seed(0)  # what follows is the same whether or not the vision tower was trained just now
        _load_pretrained(model, work)
    if "language-model" in parts and spent(work / "language-model") < language_model_seconds:
        language_model.train(model, tokenizer, work / "language-model", seconds=language_model_seconds)
    if "save" in parts:
        _save_trained(model, tokenizer, work, out, record)
    if "second-judges" in parts:
        _train_second_judges(work / "second-judges", out, record)
    if "attribute-judges" in parts:
        _train_attribute_judges(out, record)
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


def _train_tokenizer(folder: Path) -> None:
    if not folder.exists():
        temporary = folder.with_suffix(".tmp")
        train_tokenizer().save_pretrained(temporary)
        temporary.rename(folder)


def _train_judges(out: Path, record: "_Record") -> None:
    for name in record.missing_judges(judges.JUDGES, out):
        record[f"judge:{name}"] = judges.train_judge(name, out / "judges")


def _save_trained(
    model: JanusForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, work: Path, out: Path, record: "_Record"
) -> None:
    """Load the trained language model, save it to `out`, and record its training and the codec's."""
    state = torch.load(_built(work / "language-model" / "checkpoint.pt", "language-model"), weights_only=True)
    model.load_state_dict(state["model"])
    save(model, out)
    processor(tokenizer).save_pretrained(out)
    record["language-model"] = {"seconds": round(state["spent"]), "steps": state["step"]}
    for part in ("codec", "language-model"):
        log = work / part / "log.jsonl"
        if log.exists():
            record[part] = record.get(part, {}) | json.loads(log.read_text().splitlines()[-1])


def _train_second_judges(work: Path, out: Path, record: "_Record") -> None:
    if missing := record.missing_judges(second_judges.SECOND_JUDGES, out):
        images = second_judges.build_pool(work / "pool.npz", _shipped_codec(out))
        for name in missing:
            record[f"judge:{name}"] = second_judges.train_second_judge(name, images, work, out / "judges")


def _train_attribute_judges(out: Path, record: "_Record") -> None:
    if missing := record.missing_judges(attribute_judges.ATTRIBUTE_JUDGES, out):
        scenes = attribute_judges.build_pool(_shipped_codec(out))
        for name in missing:
            record[f"judge:{name}"] = attribute_judges.train_attribute_judge(name, scenes, out / "judges")


class _Record(dict[str, Any]):
    """Training record of each part, saved on every assignment and copied into the card."""

    def __init__(self, path: Path) -> None:
        super().__init__(json.loads(path.read_text()) if path.exists() else {})
        self.path = path

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        write_atomic(self.path, json.dumps(self, indent=1).encode() + b"\n")

    def has(self, key: str, folder: Path) -> bool:
        """Whether the part was trained and its weights are in `folder`: another ``--out`` has none yet."""
        return key in self and (folder / "model.safetensors").exists()

    def missing_judges(self, names: Iterable[str], out: Path) -> list[str]:
        """Those of `names` whose judges have yet to be trained into `out`."""
        return [name for name in names if not self.has(f"judge:{name}", out / "judges" / name)]
