"""A rule for tests: what they do not name is as the service has it."""

from dataclasses import replace
from typing import Any

from app.matching.kinds import Rule
from app.parts import rule_from
from app.settings import Settings


def rule(**changed: Any) -> Rule:
    """The rule of the default settings, but for what is given."""
    return replace(rule_from(Settings(_env_file=None)), **changed)  # type: ignore[call-arg]
