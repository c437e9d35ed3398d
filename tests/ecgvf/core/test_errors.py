import pytest

from ecgvf.core.errors import first_line


@pytest.mark.parametrize(
    ("message", "line"), [("one\ntwo", "one"), ("\none\ntwo", "one"), ("", "RuntimeError"), ("\n \n", "RuntimeError")]
)
def test_a_librarys_error_is_one_line_and_never_empty(message: str, line: str) -> None:
    assert first_line(RuntimeError(message)) == line
