from collections.abc import Iterator

import pytest

from app.sources.limits import Limits
from app.sources.pdf import PdfReaders


@pytest.fixture(scope="session")
def pdfs() -> Iterator[PdfReaders]:
    """Processes that read PDFs, for all tests: starting one costs a fifth of a second."""
    with PdfReaders(Limits()) as readers:
        yield readers
