"""Which judges look at the images of a nano that is checked, and what its figures count."""

from pathlib import Path

import numpy as np
import pytest

from ecgvf.core.paths import data_dir
from tools.nano.check import judges_for, share


def test_a_model_without_judges_of_its_own_is_judged_by_the_shipped_ones(tmp_path: Path) -> None:
    shipped = data_dir() / "nano" / "judges"
    assert judges_for("janus-nano") == judges_for(str(tmp_path)) == shipped
    (tmp_path / "judges").mkdir()
    assert judges_for(str(tmp_path)) == tmp_path / "judges"


def test_images_of_a_prompt_are_one_unit() -> None:
    correct = np.arange(160) % 2 == 0
    alone, together = share(correct, range(160)), share(correct, np.arange(160) // 4 % 40)
    assert (alone.n, together.n) == (160, 40) and alone.value == together.value == 0.5
    with pytest.raises(ValueError, match="160 values but 3 prompts"):
        share(correct, range(3))
