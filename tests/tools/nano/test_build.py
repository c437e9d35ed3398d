"""Parts of nano are built from those before them."""

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from ecgvf.core.errors import SettingsError
from tools.nano.build import build


def test_a_missing_part_is_named(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(SettingsError, match="--part tokenizer"):
        build(tmp_path, tmp_path / "out", ("language-model",))
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(SettingsError, match="--part save"):
        build(tmp_path, tmp_path / "out", ("second-judges",))
    with pytest.raises(SettingsError, match="--part codec"):
        build(tmp_path, tmp_path / "out", ("language-model",))
    assert not (tmp_path / "out").exists()
