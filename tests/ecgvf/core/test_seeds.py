from hypothesis import given
from hypothesis import strategies as st

from ecgvf.core.seeds import derive

texts = st.text(max_size=20)


@given(st.integers(0, 2**32), texts, texts)
def test_a_seed_fits_63_bits_and_depends_on_its_three_parts(run: int, record: str, purpose: str) -> None:
    seed = derive(run, record, purpose)
    assert 0 <= seed < 2**63
    assert seed == derive(run, record, purpose)
    assert seed != derive(run + 1, record, purpose)
    assert seed != derive(run, record + "x", purpose)
    assert seed != derive(run, record, purpose + "x")


def test_parts_are_kept_apart() -> None:
    assert derive(1, "2x", "render") != derive(12, "x", "render")


def test_a_seed_never_changes_between_versions() -> None:
    """A dataset's pictures can be drawn again only as long as this holds."""
    assert derive(0, "0123456789abcdef", "render") == 8090461898702334612
