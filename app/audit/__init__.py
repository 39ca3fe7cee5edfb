"""The audit: all families of copies in a collection, as a file."""

from app.audit.reading import read_audit
from app.audit.writing import FORMATS, format_of, write_audit, write_to

__all__ = ["FORMATS", "format_of", "read_audit", "write_audit", "write_to"]
