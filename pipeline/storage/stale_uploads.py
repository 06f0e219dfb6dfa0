"""Aborting the multipart uploads of killed processes: their parts are invisible and cost money until they are aborted."""

import logging
from datetime import UTC, datetime

from pipeline.core.errors import StorageError
from pipeline.storage.base import Store
from pipeline.storage.locks import has_live_lock

STALE_AFTER_S = 24 * 3600  # no upload of one file takes a day
_log = logging.getLogger(__name__)


def abort_stale_uploads(store: Store) -> int:
    """Abort unfinished uploads under a run directory; gives their number. While the directory holds a live lock, only old ones.

    Uploads are made under locks only. They are listed before the locks: the lock of a live upload is then seen, or the upload
    is complete. An upload that is aborted by mistake (its lock only seems dead) is started again by its owner.
    """
    try:
        uploads = store.unfinished()
        if uploads and has_live_lock(store):
            now = datetime.now(UTC)
            uploads = [upload for upload in uploads if (now - upload.begun).total_seconds() > STALE_AFTER_S]
        for upload in uploads:
            store.abort(upload)
    except StorageError as error:  # listing and aborting need rights that a run otherwise does not
        _log.warning(
            "unfinished uploads were not aborted: %s (docs/storage.md has a lifecycle rule that does it)", error
        )
        return 0
    return len(uploads)
