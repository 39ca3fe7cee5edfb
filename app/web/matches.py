"""`/matches/{match_id}`: why two stored images match, drawn."""

from fastapi import APIRouter
from starlette.responses import Response

from app.catalog import matches
from app.errors import NotFound
from app.explanation import overlay_of_match
from app.web.access import QualityControl
from app.web.opaque import opaque_id
from app.web.parts import WithParts
from app.web.pictures import PNG, png
from app.web.schemas import problem_responses

router = APIRouter(prefix="/matches/{match_id}", tags=["matches"], responses=problem_responses(404))


@router.get("/overlay.png", response_class=Response, responses=PNG)
def get_overlay(
    match_id: str,
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
) -> Response:
    """Draw both pictures of a match with what they have in common, and one laid on the other."""
    with parts.engine.connect() as connection:
        row = matches.match_by_id(connection, opaque_id(match_id, "match_id"))
    if row is None:
        raise NotFound(f"no match {match_id}", field="match_id")
    return png(overlay_of_match(parts.pictures, row))
