"""What the OpenAPI document shows: one claim picture, mirrored from another claim, through every answer."""

from typing import Any

from pydantic import ConfigDict

IMAGE_ID = "0b6b5f0e-5c1b-4c55-9a3a-8e2f6f9d1c11"
CLAIM_ID = "KD-2026-0042"
_UPLOADED_AT = "2026-11-22T09:30:00.000000Z"
_FOUND = {
    "image_id": "c0a8012e-1d2f-4f6e-9f0a-2b1d3c4e5f60",
    "claim_id": "KD-2025-0199",
    "transform": "mirror",
    "uploaded_at": "2026-03-01T10:15:00.123456Z",
}
EVIDENCE: dict[str, Any] = {
    "scale": 0.62,
    "angle": 0.1,
    "mirrored": True,
    "negative": False,
    "homography": [[-0.62, 0.0, 401.5], [0.0, 0.62, 38.2], [0.0, 0.0, 1.0]],
    "region": [[0.0, 0.0], [512.0, 0.0], [512.0, 384.0], [0.0, 384.0]],
    "found_region": [[401.5, 38.2], [84.1, 38.2], [84.1, 276.3], [401.5, 276.3]],
    "inliers": 61,
    "close": 74,
    "score": 0.971,
    "shift": 0.14,
}
MATCH: dict[str, Any] = _FOUND | {
    "match_id": "6f8a7a52-8a0e-4a0b-b7a6-7a7d3a3b8f10",
    "relation": "other_claim",
    "kind": "near_duplicate",
    "distances": {
        "ahash": 1,
        "phash": 2,
        "dhash": 3,
        "whash": 0,
        "whash_db4": 1,
        "colorhash": 2,
        "verifier": 14,
    },
    "evidence": EVIDENCE,
    "source": {
        "path": "archive/2025.zip",
        "within": [
            {"kind": "zip", "name": "inbox/7.eml", "position": 7},
            {
                "kind": "message",
                "subject": "KD-2025-0199, my fridge",
                "from": "claimant@example.org",
                "sent_at": "2025-03-01T10:30:00+01:00",
                "name": "fridge.jpg",
                "position": 2,
            },
        ],
    },
}
_BOX = {"x": 12, "y": 40, "width": 180, "height": 95}
TEMPLATE_ID = "5f1d7c9e-2b7a-4f3e-9a55-0c9d8e7f6a51"
CLUSTER_ID = "a3c1e5d7-9b2f-4d68-8e10-7f6b5c4d3e21"
RUN_ID = "e2b4c6d8-1a3f-4b5d-9c7e-6a8b0c2d4f63"
_TEMPLATE_NAME = "scratched housing"
SHOWN_TEMPLATE: dict[str, Any] = {
    "template_id": TEMPLATE_ID,
    "name": _TEMPLATE_NAME,
    "distance": 92,
    "region": _BOX,
    "chance": 0.00021,
}
IMAGE: dict[str, Any] = {
    "image_id": IMAGE_ID,
    "claim_id": CLAIM_ID,
    "file_name": "fridge.jpg",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "format": "JPEG",
    "width": 4000,
    "height": 3000,
    "seq": 150001,
    "uploaded_at": _UPLOADED_AT,
    "taken_at": None,
    "labels": {"product": "fridge"},
    "source": None,
    "status": "fingerprinted",
    "page": False,
    "hashes": {
        "ahash": "ffc3818181c3e7ff",
        "phash": "d1c48b3a7e2f9056",
        "dhash": "33694d4d4d69332b",
        "whash": "ffc3818181c3ffff",
        "whash_db4": "ffc38181c3c3ffff",
        "colorhash": "0000000042800200",
        "pattern": "e919c88347b83439",
    },
    "verdict": "near_duplicate",
    "matches": [MATCH],
    "matches_total": 1,
    "hub": None,
    "templates": [SHOWN_TEMPLATE],
    "templates_pending": 0,
}
UPLOADED_IMAGE = IMAGE | {"created": True, "parts_pending": 0}
REJECTED_FILE: dict[str, Any] = {
    "position": 1,
    "file_name": "letter.docx",
    "problem": {
        "type": "/problems/unsupported-format",
        "title": "Unsupported Media Type",
        "status": 415,
        "detail": "This is no picture of a kind that is taken.",
    },
}
UPLOAD_ANSWER = {
    "claim_id": CLAIM_ID,
    "duplicate": True,
    "images": [UPLOADED_IMAGE],
    "rejected": [REJECTED_FILE],
}
IMAGE_LIST = {"claim_id": CLAIM_ID, "total": 1, "images": [IMAGE], "next_cursor": None}
MATCH_LIST = {
    "image_id": IMAGE_ID,
    "verdict": "near_duplicate",
    "total": 1,
    "matches": [MATCH],
    "next_cursor": None,
}
SIMILAR_IMAGE: dict[str, Any] = _FOUND | {
    "distance": 2,
    "regions": [],
    "kind": None,
    "evidence": None,
}
SEGMENT_LIST = {
    "image_id": IMAGE_ID,
    "segments": [{"hash": "33694d4d4d69332b", "box": _BOX, "searchable": True}],
}
SIMILAR_ANSWER = {
    "image_id": IMAGE_ID,
    "status": "fingerprinted",
    "hash": "phash",
    "max_distance": 10,
    "total": 1,
    "index_seq": 150020,
    "matches": [SIMILAR_IMAGE],
    "next_cursor": None,
}
OCCURRENCE: dict[str, Any] = {
    "images": 72,
    "claims": 70,
    "first_day": "2026-03-02",
    "last_day": "2026-11-21",
    "recent": 24,
    "before": 11,
    "labels": {"plant": [{"value": "B", "images": 52, "share": 0.7222}]},
}
TEMPLATE: dict[str, Any] = {
    "template_id": TEMPLATE_ID,
    "name": _TEMPLATE_NAME,
    "fingerprint": "pattern",
    "max_distance": 120,
    "enabled": True,
    "width": 512,
    "height": 384,
    "region": _BOX,
    "created_at": _UPLOADED_AT,
    "compared": True,
    "job_id": None,
    "compared_images": 150000,
    "found": OCCURRENCE,
}
TEMPLATE_LIST = {"total": 1, "templates": [TEMPLATE], "next_cursor": None}
_MEMBER = {
    "image_id": IMAGE_ID,
    "claim_id": CLAIM_ID,
    "uploaded_at": _UPLOADED_AT,
    "labels": {"plant": "B"},
}
TEMPLATE_MATCH: dict[str, Any] = _MEMBER | {
    "distance": 92,
    "region": _BOX,
    "transform": None,
    "chance": 0.00021,
}
TEMPLATE_MATCHES = {
    "template_id": TEMPLATE_ID,
    "total": 72,
    "not_compared_yet": 0,
    "matches": [TEMPLATE_MATCH],
    "next_cursor": "b3BhcXVl",
}
RUN: dict[str, Any] = {
    "run_id": RUN_ID,
    "fingerprint": "pattern",
    "linkage": "medoid",
    "max_distance": 72,
    "min_size": 5,
    "filter": {"labels": {"product": "fridge"}},
    "created_at": _UPLOADED_AT,
    "as_of_seq": 150001,
    "outside": 61234,
    "left_out": {"not_computed_yet": 0, "low_information": 35},
    "ended_total": 0,
}
WHOLE_RUN = RUN | {"ended": []}
RUN_LIST = {"runs": [RUN]}
CLUSTER: dict[str, Any] = {
    "cluster_id": CLUSTER_ID,
    "medoid": IMAGE_ID,
    "cohesion": 0.62,
    "came_from": [{"cluster_id": CLUSTER_ID, "images": 64}],
    "found": OCCURRENCE,
}
CLUSTER_LIST = {"run": RUN, "total": 1, "clusters": [CLUSTER], "next_cursor": None}
WHOLE_CLUSTER: dict[str, Any] = CLUSTER | {
    "run": RUN,
    "members": [_MEMBER | {"distance": 31}],
    "next_cursor": "b3BhcXVl",
}
TRENDS = {
    "weeks": ["2026-11-09", "2026-11-16"],
    "run_id": RUN_ID,
    "clusters": [{"cluster_id": CLUSTER_ID, "counts": [6, 9]}],
    "templates": [{"template_id": TEMPLATE_ID, "name": _TEMPLATE_NAME, "counts": [5, 8]}],
}
JOB = {
    "job_id": "7d0f3c52-19f5-4a39-8e55-b2a3b5c0a6de",
    "kind": "reindex",
    "params": {"rehash": False, "rescreen": False},
    "state": "succeeded",
    "progress": {"step": "rebuild", "workers": 2, "workers_done": 2},
    "result": {
        "generation": 3,
        "images": 150000,
        "workers": 2,
        "difference": {"missing": 0, "extra": 0, "differing": 0},
    },
    "error": None,
    "requested_by": "operations/cp_Zk3vN0pQ",
    "created_at": _UPLOADED_AT,
    "started_at": _UPLOADED_AT,
    "finished_at": "2026-11-22T09:30:01.500000Z",
}


def shown(example: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a model that shows this example."""
    return ConfigDict(json_schema_extra={"examples": [example]})
