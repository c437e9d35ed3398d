import pytest
import torch

from ecgvf.core.errors import SettingsError
from ecgvf.janus.sampling import Sampling, apply_guidance, sample_tokens, uniform_noise


def test_noise_of_a_row_depends_on_its_seed_alone() -> None:
    rows = uniform_noise([5, 6, 2**63 - 1], 8)
    assert torch.equal(uniform_noise([6], 8)[0], rows[1])
    assert not torch.equal(rows[0], rows[1])
    assert ((rows >= 0) & (rows < 1)).all()


def test_tokens_are_sampled_in_proportion_to_their_probability() -> None:
    probabilities = torch.tensor([0.0, 0.5, 0.2, 0.0, 0.3])
    uniform = torch.arange(1000, dtype=torch.float64) / 1000
    tokens = sample_tokens(probabilities.log().expand(1000, -1), uniform, Sampling())
    counts = tokens.bincount(minlength=5)
    assert (counts - probabilities * 1000).abs().max() <= 1
    assert counts[0] == counts[3] == 0


def test_guidance_extrapolates_from_unconditional_to_conditional() -> None:
    logits = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    assert torch.equal(apply_guidance(logits, 1.0), logits[:1])
    assert torch.equal(apply_guidance(logits, 3.0), torch.tensor([[4.0, -2.0]]))


@pytest.mark.parametrize(
    "settings", [{"guidance": -1.0}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(settings))} .*: it must be "):
        Sampling(**settings)  # type: ignore[arg-type]
