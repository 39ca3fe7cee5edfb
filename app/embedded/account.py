"""The user that PostgreSQL runs as: PostgreSQL refuses to be root."""

import os
import pwd
from dataclasses import dataclass

from app.errors import StartupError

NOBODY = 65534  # the kernel's overflow uid, `nobody` wherever the user database names it


@dataclass(frozen=True, slots=True)
class Account:
    """User and group id of the server's processes and of the cluster's files."""

    uid: int
    gid: int


def account_for(owner: Account | None) -> Account:
    """The account for a cluster whose files belong to `owner` (None: no cluster yet).

    Without root's rights it is the caller's own. Root takes the owner of the cluster, so that one made
    earlier by an ordinary user goes on under that user; else `nobody`; else the first unprivileged user of
    the user database; else the number 65534. Raises StartupError for a cluster of somebody else.
    """
    if os.geteuid() != 0:
        own = Account(os.geteuid(), os.getegid())
        if owner is not None and owner.uid != own.uid:
            raise StartupError(
                f"the database cluster belongs to user id {owner.uid} and this is user id {own.uid}: "
                "start the service as the user (or root) that made it, or give it another DATA_DIR"
            )
        return own
    if owner is not None and owner.uid != 0:
        return owner
    users = [user for user in pwd.getpwall() if user.pw_uid != 0 and user.pw_gid != 0]
    users.sort(key=lambda user: user.pw_name != "nobody")  # stable: otherwise in the database's order
    if users:
        return Account(users[0].pw_uid, users[0].pw_gid)
    return Account(NOBODY, NOBODY)
