"""Clearing away what killed processes left of uploads in parts: nobody sees such parts, and they are paid for until aborted."""

import logging
from datetime import UTC, datetime

from pipeline.core.errors import StorageError
from pipeline.storage.base import Store
from pipeline.storage.locks import anybody_here

OLD_S = 24 * 3600
_log = logging.getLogger(__name__)


def sweep(store: Store) -> int:
    """Abort unfinished uploads under a run directory; gives how many. While others are at work in it, only those of yesterday.

    Uploads happen under locks only. They are listed before the locks are: a live upload's lock is seen, or it has finished.
    An upload that is aborted in error all the same (a lock that only seems dead) is begun again by its owner.
    """
    try:
        found = store.unfinished()
        if found and anybody_here(store):
            now = datetime.now(UTC)
            found = [upload for upload in found if (now - upload.begun).total_seconds() > OLD_S]
        for upload in found:
            store.abort(upload)
    except StorageError as error:  # a right that is only good for this
        _log.warning(
            "unfinished uploads were not cleared away: %s (docs/storage.md has a lifecycle rule that does)", error
        )
        return 0
    return len(found)
