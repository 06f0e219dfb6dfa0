"""A corrected author or a renamed file is in the dataset after a rerun, and no model runs for it."""

import json
import tarfile

import pytest

from pipeline.core.errors import ProcropError
from pipeline.runs.receipts import Receipt
from pipeline.runs.run_directory import receipt_path
from pipeline.shards import parquet
from tests.chain import make_photos, recipe_for, run_chain, session_for


def samples(work):
    found = {}
    for tar in sorted((work / "dataset/shards").glob("*.tar")):
        with tarfile.open(tar) as archive:
            for name in archive.getnames():
                if name.endswith(".json"):
                    row = json.load(archive.extractfile(name))
                    found[row["key"]] = row
    return found


def credit(photos, author):
    rows = "".join(f"{path.name},{author}\n" for path in sorted(photos.glob("*.jpg")))
    (photos / "credits.csv").write_text(f"file,author\n{rows}")


def test_credits_and_names_repaint_nothing(tmp_path):
    photos, work = make_photos(tmp_path / "photos", 8), tmp_path / "work"
    credit(photos, "Anne")
    recipe = recipe_for(photos)
    run_chain(session_for(recipe, work))
    before = samples(work)
    assert before and {row["author"] for row in before.values()} == {"Anne"}
    (photos / "photo 3.jpg").rename(photos / "another name.jpg")
    credit(photos, "Anna")
    done = {result.stage: result.done_now for result in run_chain(session_for(recipe, work))}
    after = samples(work)
    assert {row["author"] for row in after.values()} == {"Anna"}
    assert {key: {**row, "author": ""} for key, row in after.items()} == {
        key: {**row, "author": ""} for key, row in before.items()
    }
    again = {name for name, count in done.items() if count}
    assert again == {"ingest", "dedup", "build", "retrieve"}  # none of which runs a model
    work_again = {result.stage: result.done_now for result in run_chain(session_for(recipe, work))}
    assert not any(work_again.values())


def test_tables_of_another_arrow_are_the_same_input(tmp_path):
    """Whoever wrote a table: what a stage reads of it are values."""
    photos, work = make_photos(tmp_path / "photos", 4), tmp_path / "work"
    session = session_for(recipe_for(photos, work_shards=1), work)
    run_chain(session, until="outpaint")
    (outpaint,) = [stage for stage in session.stages if stage.name == "outpaint"]
    now = session.run.inputs_of(outpaint, 0)
    path = receipt_path("caption", 0)
    receipt = Receipt.decode(session.run.store.read(path), path)
    (table,) = receipt.columns
    other = parquet.encode_table(parquet.decode_table(session.run.store.read(table)), rows_a_group=1)
    assert other != session.run.store.read(table)
    again = parquet.kept_digests(parquet.decode_table(other))
    assert again == receipt.columns[table] and now["caption"] == receipt.content_digest(["key", "beyond", "negative"])


def test_a_stage_reads_only_what_it_declares(tmp_path):
    photos, work = make_photos(tmp_path / "photos", 2), tmp_path / "work"
    session = session_for(recipe_for(photos, work_shards=1), work)
    run_chain(session, until="ingest")
    (caption,) = [stage for stage in session.stages if stage.name == "caption"]
    ingest = session.stages[0]
    with pytest.raises(ProcropError, match=r"reads .* of ingest, which its 'reads' does not name"):
        session.run.shard(caption, 0).rows("ingest", ingest.record)


def test_a_table_without_digests_of_values_counts_by_its_bytes(tmp_path):
    """Receipts of older versions: nothing is made again because of them."""
    photos, work = make_photos(tmp_path / "photos", 2), tmp_path / "work"
    session = session_for(recipe_for(photos, work_shards=1), work)
    run_chain(session, until="ingest")
    path = work / receipt_path("ingest", 0)
    body = json.loads(path.read_text())
    del body["columns"], body["environment"], body["seal"]
    old = Receipt.decode(json.dumps(body).encode(), "old")
    assert old.content_digest(["key"]) == old.output_digest and old.environment == {}
