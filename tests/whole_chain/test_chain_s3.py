"""The whole chain on S3: the bytes of a local run, with errors between, by two processes at once; requests by stage."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.app.progress import Display
from pipeline.checks.verify import verify_run
from pipeline.engine.completion import shards_to_do
from pipeline.runs.download_cache import fetch
from pipeline.runs.status import funnel
from pipeline.storage import retry
from pipeline.storage.open_store import open_store
from tests.chain import make_photos
from tests.remote_chain import digests, run_inline, small_session
from tests.s3_server import s3_server

SHOW = "PROCROP_SHOW_REQUESTS"  # set to a number of photographs: prints the requests that they take, without errors between
ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos"), int(os.environ.get(SHOW, "4")))


@pytest.fixture(scope="module")
def local(photos, tmp_path_factory):
    session = small_session(photos, tmp_path_factory.mktemp("run") / "work")
    run_inline(session)
    return digests(session.run.store)


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as found:
        patch.setattr(retry, "RETRY_POLICY", replace(retry.RETRY_POLICY, first_wait_s=0.02, max_wait_s=0.1))
        yield found


@pytest.fixture(scope="module")
def bucket_of_photos(server, photos):
    _, _, client = server
    client.create_bucket(Bucket="photos")
    for path in photos.iterdir():
        client.upload_file(str(path), "photos", f"mine/{path.name}")
    return "s3://photos/mine"


def work_in(server, name):
    _, faults, client = server
    faults.none()
    client.create_bucket(Bucket=name)
    return f"s3://{name}/deep/run"


def test_bucket_to_bucket_with_errors_gives_a_local_runs_bytes(server, bucket_of_photos, local, tmp_path, monkeypatch):
    _, faults, client = server
    work = work_in(server, "spoilt")
    faults.some(0.0 if SHOW in os.environ else 0.05)
    asked = Requests(faults)
    run_inline(small_session(bucket_of_photos, work), asked)
    asked.check()
    faults.none()
    session = small_session(bucket_of_photos, work)
    found = digests(session.run.store)
    assert found == local
    assert {"dataset/README.md", "retrieve/shared/index.json", "embed/000001.parquet"} <= set(found)
    assert session.run.store.names("locks") == []
    assert client.list_multipart_uploads(Bucket="spoilt").get("Uploads", []) == []
    monkeypatch.setenv("PROCROP_CACHE", str(tmp_path / "cache"))
    look_at(session, faults)


def look_at(session, faults) -> None:
    """A finished run can be looked at from anywhere, and fetched."""
    run, stages = session.run, session.stages
    assert all(s.done == s.total for s in funnel(run, stages))
    assert shards_to_do(stages[0], run) == []
    assert verify_run(run, stages, threads=2, begin=lambda size: None, progress=lambda size: None).sound
    copy = fetch(run)
    tars = sorted((copy / "dataset" / "shards").glob("*.tar"))
    assert len(tars) == 2 and tars[0].read_bytes() == run.store.read(f"dataset/shards/{tars[0].name}")
    assert (copy / "retrieve" / "shared" / "index.json").is_file()
    faults.none()
    assert fetch(run) == copy and faults.seen["GET"] < 15  # receipts alone


class Requests(Display):
    """Counts requests by stage while a run goes on."""

    def __init__(self, faults) -> None:
        super().__init__(quiet=True)
        self._faults, self._rows = faults, []

    def end(self, result) -> None:
        super().end(result)
        samples = sum(receipt.n_in for receipt in result.receipts)
        self._rows.append((result.stage, len(result.receipts), samples, Counter(self._faults.seen)))
        self._faults.seen.clear()

    def check(self) -> None:
        """Few enough that a thousand shards cost cents; docs/storage.md has the table, which this prints when asked to."""
        for stage, shards, samples, seen in self._rows:
            if SHOW in os.environ:
                print(f"{stage}: {shards} shards, {samples} samples: {dict(sorted(seen.items()))}")
            else:
                assert sum(seen.values()) / shards < 130, (stage, seen)


RUN = """
import sys
from pipeline.core.errors import ProcropError
from tests.remote_chain import run_inline, small_session
try:
    run_inline(small_session(sys.argv[1], sys.argv[2]), until="outpaint")
except ProcropError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def test_two_processes_at_once_are_harmless(server, photos, local):
    work = work_in(server, "shared")
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(photos), work]
    both = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [(process.communicate(timeout=300)[1], process.returncode) for process in both]
    assert all(code == 0 or (code == 4 and "is held by" in said) for said, code in ends), ends
    run_inline(small_session(photos, work), until="outpaint")
    found = digests(open_store(work))
    assert {"outpaint/000000.tar", "outpaint/000001.tar"} <= set(found)
    assert found == {path: local[path] for path in found}
