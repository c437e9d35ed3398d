"""Arrow tables as Parquet and CSV files, each of which appears whole."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ecgvf.core.files import write_atomic


def write_parquet(table: pa.Table, file: Path) -> None:
    """Write ``table`` with its metadata."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(file, sink.getvalue().to_pybytes())


def csv_bytes(table: pa.Table) -> bytes:
    """``table`` as CSV in UTF-8."""
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink)
    return bytes(sink.getvalue().to_pybytes())
