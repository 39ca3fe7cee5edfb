"""The database server that the service brings along, for when `DATABASE_URL` names none.

`EmbeddedServer.start(data_dir)` in `serve`, `join(data_dir)` in every other command.
docs/decisions/0003 has the reasons.
"""

from app.embedded.occupancy import join
from app.embedded.server import MAX_CONNECTIONS, EmbeddedServer

__all__ = ["MAX_CONNECTIONS", "EmbeddedServer", "join"]
