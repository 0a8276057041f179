"""Which failures may be gone when one tries again in a while."""

import errno
from typing import Final

from sqlalchemy.exc import DBAPIError

# Networks and shares that do not answer. A full disk or a missing right is no better in a minute.
_ERRNOS: Final = frozenset(
    {
        errno.EAGAIN,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
# PostgreSQL's states: connection lost, transaction to be tried again, server stopped or starting, too many connections.
_STATES: Final = ("08", "40", "57P", "53300")


def is_transient(error: BaseException) -> bool:
    """Whether an error, or what led to it, is one of a connection, a server or a share that does not answer now."""
    reason: BaseException | None = error
    while reason is not None:
        if isinstance(reason, OSError) and reason.errno in _ERRNOS:
            return True
        if isinstance(reason, DBAPIError) and _is_of_the_server(reason):
            return True
        reason = reason.__cause__ or reason.__context__
    return False


def _is_of_the_server(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", "")  # of psycopg; None where it could not even connect
    return state is None or (bool(state) and state.startswith(_STATES))
