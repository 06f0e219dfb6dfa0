"""The retrieval bench compares like with like, on few vectors."""

import json

import numpy as np
import pytest

from benchmarks import retrieval


def test_it_ends_with_its_result(capsys: pytest.CaptureFixture[str]) -> None:
    retrieval.main(
        [
            "--vectors",
            "3000",
            "--dim",
            "32",
            "--queries",
            "40",
            "--single",
            "4",
            "--approximate",
            "1500",
            "--rounds",
            "1",
        ]
    )
    told = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix("RESULT "))
    assert set(told["ratio"]) == {"faiss.IndexFlatIP", retrieval.SINGLE}
    assert [row["index"] for row in told["approximate"]] == ["ivf", "hnsw"]
    assert all(row["recall"] > 0.8 for row in told["approximate"])


def test_other_ids_than_those_of_faiss_are_refused() -> None:
    base = retrieval.database_of(retrieval.made_up(300, 16), "flat")
    queries = retrieval.made_up(310, 16)[300:]
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    retrieval.check_equal(base, queries)
    base.vectors = base.vectors[::-1]
    with pytest.raises(SystemExit, match="where faiss gives"):
        retrieval.check_equal(base, queries)
