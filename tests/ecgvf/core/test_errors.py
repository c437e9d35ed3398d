import pytest

from ecgvf.core import errors
from ecgvf.core.errors import EcgvfError, first_line


@pytest.mark.parametrize(
    ("message", "line"), [("one\ntwo", "one"), ("\none.\ntwo", "one"), ("", "RuntimeError"), ("\n \n", "RuntimeError")]
)
def test_a_librarys_error_is_one_line_and_never_empty(message: str, line: str) -> None:
    assert first_line(RuntimeError(message)) == line


def test_every_error_in_the_tree_is_drawn_at_its_top() -> None:
    tree = [error for error in vars(errors).values() if isinstance(error, type)]
    assert len(tree) > 10
    for error in tree:
        assert issubclass(error, EcgvfError)
        assert error.__name__ in str(errors.__doc__)
