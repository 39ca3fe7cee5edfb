"""Room: how much may be between reading and storing."""

import threading


class Room:
    """So many places and bytes; whoever takes waits for room, and one that is larger than all waits to be alone."""

    def __init__(self, places: int, byte_count: int):
        self._changed = threading.Condition()
        self._places = places
        self._most_bytes = byte_count
        self._taken_bytes = 0
        self._taken = 0

    def take(self, byte_count: int) -> None:
        """Take a place and so many bytes, once they are free."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._taken < self._places
                    and (not self._taken_bytes or self._taken_bytes + byte_count <= self._most_bytes)
                )
            )
            self._taken += 1
            self._taken_bytes += byte_count

    def free_bytes(self, byte_count: int) -> None:
        """Give bytes back that were taken."""
        with self._changed:
            self._taken_bytes -= byte_count
            self._changed.notify_all()

    def free_place(self) -> None:
        """Give a place back that was taken."""
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()
