"""The engines by name, as a setting and the benchmark call them."""

from collections.abc import Mapping

from app.index.adaptive import Adaptive
from app.index.bktree import BKTree
from app.index.multi_index import MultiIndex
from app.index.protocol import Engine
from app.index.scan import Scan

ENGINES: Mapping[str, type[Engine]] = {
    "auto": Adaptive,
    "bktree": BKTree,
    "multi_index": MultiIndex,
    "scan": Scan,
}
