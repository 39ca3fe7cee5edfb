"""The error tree; `web.problems` holds the one table from class to HTTP status.

ClaimprintError
├── InvalidValue            a field of the request is out of range (names the field and the limit)
│   └── InvalidCursor       a cursor that this query did not hand out
├── NotAuthenticated        no key, or one that is unknown or revoked
├── NotAllowed              the key's role, or its client, may not do this
├── NotFound                no live row of that name
├── Conflict                not as things stand: work under way, not done yet, or as many as may be
├── RequestTooLarge         the body is over its limit
├── RequestTooSlow          the body did not arrive in the time it may take
├── UnusablePicture         one file of several; its neighbours are still taken
│   ├── UnsupportedFormat   not a picture format that is switched on
│   ├── PictureTooLarge     too many bytes or pixels
│   ├── BrokenPicture       the decoder refused it
│   └── DecoderKilled       the decoder ran into its memory, CPU or wall limit
├── StorageFull             the disk is full, nothing was acknowledged
├── Unavailable             try again later (carries retry_after_seconds)
│   ├── Overloaded          the queue in front of the decoders is full
│   ├── DatabaseAway        PostgreSQL can't be reached, or is not fit to promise durability
│   └── StorageAway         the storage of pictures can't be reached, or refuses
└── StartupError            the service can't start; the command line prints it and exits
"""


class ClaimprintError(Exception):
    """Base of every error that this package raises on purpose.

    `message` is one sentence for the caller that names the thing and the limit; `field` is the parameter
    or part it is about, `limit` the bound that was crossed, both optional.
    """

    def __init__(self, message: str, *, field: str | None = None, limit: float | str | None = None):
        super().__init__(message)
        self.message = message
        self.field = field
        self.limit = limit


class InvalidValue(ClaimprintError):
    """A field of the request is out of range."""


class InvalidCursor(InvalidValue):
    """A cursor that this query did not hand out."""


class NotAuthenticated(ClaimprintError):
    """No key, or one that is unknown or revoked."""


class NotAllowed(ClaimprintError):
    """The key's role, or its client, may not do this."""


class NotFound(ClaimprintError):
    """No live row of that name."""


class Conflict(ClaimprintError):
    """It can't be done as things stand.

    The same work is under way already, the job whose report is asked for has not succeeded, or there are as many
    templates as there may be.
    """


class RequestTooLarge(ClaimprintError):
    """The body of the request is over its limit."""


class RequestTooSlow(ClaimprintError):
    """The body of the request did not arrive in the time it may take."""


class UnusablePicture(ClaimprintError):
    """A file that cannot be taken; the other files of its request still are."""


class UnsupportedFormat(UnusablePicture):
    """The file is not a picture in a format that is switched on."""


class PictureTooLarge(UnusablePicture):
    """The file has too many bytes, or its header claims too many pixels."""


class BrokenPicture(UnusablePicture):
    """The decoder refused the file, or its structure is abusive."""


class DecoderKilled(UnusablePicture):
    """Decoding ran into the memory, CPU or wall limit, or crashed its process."""


class StorageFull(ClaimprintError):
    """The disk is full; nothing was acknowledged."""


class Unavailable(ClaimprintError):
    """The service can't answer now; the same request may be sent again after `retry_after_seconds`."""

    def __init__(self, message: str, *, retry_after_seconds: int = 2):
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Overloaded(Unavailable):
    """The bounded queue in front of the decoders is full."""


class DatabaseAway(Unavailable):
    """PostgreSQL can't be reached, or is not fit to keep the promise of durability."""


class StorageAway(Unavailable):
    """The storage of pictures can't be reached, or refuses; nothing is known of what is there."""


class StartupError(ClaimprintError):
    """The service can't start; the message says what to change."""
