"""A judge's training with few steps and few images."""

from pathlib import Path

from tools.nano import judges


def test_a_judge_learns_from_composed_images(tmp_path: Path) -> None:
    result = judges.train_judge("style", tmp_path, pool=160, epochs=5, batch_size=16, tested=100)
    assert result["held_out_accuracy"] > 0.35  # of five styles, after 50 steps; chance gives 0.2
    assert (tmp_path / "style" / "model.safetensors").stat().st_size < 2_000_000
