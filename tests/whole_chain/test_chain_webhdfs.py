"""The whole chain on HDFS over HTTP: the bytes of a local run; embeddings, index and relations among them."""

from dataclasses import replace

import pytest

from pipeline.storage import retry
from tests.chain import make_photos
from tests.remote_chain import digests, run_inline, small_session
from tests.webhdfs_server import webhdfs_server

pytestmark = pytest.mark.long


def test_embeddings_index_and_relations_go_to_hdfs(tmp_path, monkeypatch):
    monkeypatch.setattr(retry, "RETRY_POLICY", replace(retry.RETRY_POLICY, first_wait_s=0.01, max_wait_s=0.05))
    photos = make_photos(tmp_path / "photos", 4)
    here = small_session(photos, tmp_path / "work")
    run_inline(here)
    with webhdfs_server() as (address, tree):
        tree.every(29, "error", "lost")
        there = small_session(photos, f"webhdfs://{address}/user/me/run")
        run_inline(there)
        tree.spoil = lambda op, path: ""
        assert digests(there.run.store) == digests(here.run.store)
        names = {path.removeprefix("/user/me/run/") for path in tree.entries}
        assert {"embed/000001.parquet", "retrieve/000001.parquet", "retrieve/shared/index.json"} <= names
        assert not [path for path in names if ".partial." in path] and there.run.store.names("locks") == []
        there.run.store._fs.session.close()
