"""Tables as Parquet and CSV: files appear whole, and no text in a CSV is a formula."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from ecgvf.core.files import write_atomic
from ecgvf.core.parquet import parquet_bytes

_NUMBER = re.compile(r"[-+]?[\d.]+( \([-\d.]+ to [-\d.]+\)| \[[-+\d., ]+\])?( of \d+)?(, without an interval)?( \*)?")
"""A figure, maybe with its interval, its sample size and a mark."""


def write_parquet(table: pa.Table, file: Path) -> None:
    """Write ``table`` with its metadata."""
    write_atomic(file, parquet_bytes(table))


def csv_bytes(table: pa.Table) -> bytes:
    """``table`` as CSV in UTF-8; the items of a list are joined by spaces."""
    for index, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            joined = [" ".join(map(str, items)) for items in table[index].to_pylist()]
            table = table.set_column(index, field.name, pa.array(joined, pa.string()))
        elif pa.types.is_string(field.type):
            texts = [None if text is None else _no_formula(text) for text in table[index].to_pylist()]
            table = table.set_column(index, field, pa.array(texts, field.type))
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink)
    return bytes(sink.getvalue().to_pybytes())


def rows_as_csv(rows: Sequence[Sequence[object]]) -> str:
    """``rows``, the first of them the header, as CSV."""
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerows([_no_formula(str(cell)) for cell in row] for row in rows)
    return output.getvalue()


def _no_formula(text: str) -> str:
    """Quote ``text`` that a spreadsheet would run as a formula; a negative number is none."""
    if _NUMBER.fullmatch(text):
        return text
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
