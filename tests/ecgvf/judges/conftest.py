import pytest

from ecgvf.core import concepts
from ecgvf.core.run import ConceptRun
from ecgvf.core.store import Store


@pytest.fixture
def run() -> ConceptRun:
    """Church in a new store."""
    return ConceptRun(Store(), concepts.find("church"))
