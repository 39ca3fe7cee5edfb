"""The messages between a reader of PDFs and its process: as `app.imaging.protocol` frames them.

    reader  -> process   {"do": "open"}, then {"do": "next"} as long as there is something
    process -> reader    an empty message once it is ready; then one item for each of those, which is
                         {"item": "opened"}, {"item": "end", "leaving"},
                         {"item": "picture", "page", "position", "byte_count"},
                         {"item": "passed", "page", "position"},
                         {"item": "file", "name", "position", "byte_count"},
                         {"item": "refused", "page" and "position" or "name" and "position" or none of them,
                          "error", "message", "limit"}
                         and after a picture or file its bytes, in pieces

A process that is `leaving` is not given another PDF. The PDF itself lies in a file that both have open. JSON and
bytes, not pickle: the process has handled hostile bytes, so what it says is data and nothing else.
"""

from typing import Any

from app.errors import BrokenPicture, ClaimprintError, DecoderKilled, PictureTooLarge, UnsupportedFormat

PIECE_BYTES = 512 * 1024

_ERRORS: dict[str, type[ClaimprintError]] = {
    error.__name__: error for error in (BrokenPicture, DecoderKilled, PictureTooLarge, UnsupportedFormat)
}


def refusal(error: ClaimprintError, **place: Any) -> dict[str, Any]:
    """The item for what can't be taken."""
    said = {"error": type(error).__name__, "message": error.message, "limit": error.limit}
    return {"item": "refused", **place, **said}


def refused(item: dict[str, Any]) -> ClaimprintError:
    """The error of such an item. KeyError when it is none."""
    return _ERRORS[item["error"]](str(item["message"]), limit=item["limit"])
