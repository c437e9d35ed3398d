import pytest
import torch

from ecgvf.core.errors import SettingsError
from ecgvf.janus import Sampling, noise
from ecgvf.janus.sampling import guide, pick


def test_noise_of_a_row_depends_on_its_seed_alone() -> None:
    rows = noise([5, 6, 2**63 - 1], 8)
    assert torch.equal(noise([6], 8)[0], rows[1])
    assert not torch.equal(rows[0], rows[1])
    assert ((rows >= 0) & (rows < 1)).all()


def test_tokens_are_picked_as_often_as_they_are_likely() -> None:
    probabilities = torch.tensor([0.0, 0.5, 0.2, 0.0, 0.3])
    uniform = torch.arange(1000, dtype=torch.float64) / 1000
    tokens = pick(probabilities.log().expand(1000, -1), uniform, Sampling())
    counts = tokens.bincount(minlength=5)
    assert (counts - probabilities * 1000).abs().max() <= 1
    assert counts[0] == counts[3] == 0


def test_guidance_moves_from_unconditional_to_conditional_and_beyond() -> None:
    logits = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    assert torch.equal(guide(logits, 1.0), logits[:1])
    assert torch.equal(guide(logits, 3.0), torch.tensor([[4.0, -2.0]]))


@pytest.mark.parametrize(
    "wrong", [{"guidance": -1.0}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}]
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        Sampling(**wrong)  # type: ignore[arg-type]
