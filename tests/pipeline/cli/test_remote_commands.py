"""The program on remote run directories: what it says when something is wrong, and what of it works from anywhere."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli import app as program
from pipeline.storage import retry
from tests.chain import make_photos
from tests.s3_server import s3_server

FEW = ["work_shards=1", "outpaint.variants=1", "outpaint.long_side=64"]


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as found:
        patch.setattr(retry, "RETRY_POLICY", replace(retry.RETRY_POLICY, first_wait_s=0.02, max_wait_s=0.1))
        yield found


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos"), 2)


@pytest.fixture
def said(server, monkeypatch, capsys):
    """Runs the program; gives its exit code and what it printed."""
    server[1].none()

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["procrop-data", *map(str, arguments)])
        try:
            program.main()
            code = 0
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def one_line(text):
    return text.startswith("error: ") and text.count("\n") == 1


def ingest(work, photos):
    return ("ingest", "--work", work, f"ingest.source={photos}", *FEW, "--workers", 1, "--quiet")


def test_a_missing_bucket(said, server, photos):
    code, text = said(*ingest("s3://nowhere/run", photos))
    assert code == 2 and one_line(text) and "no bucket 's3://nowhere'" in text
    assert "nowhere" not in [bucket["Name"] for bucket in server[2].list_buckets()["Buckets"]]
    code, text = said("status", "--work", "s3://nowhere/run")
    assert code == 2 and one_line(text) and "no bucket" in text


def test_an_unknown_protocol_and_a_missing_package(said, photos):
    code, text = said("status", "--work", "nosuch://bucket/run")
    assert code == 2 and one_line(text) and "protocols are s3://" in text
    code, text = said(*ingest("gs://bucket/run", photos))
    assert code == 2 and one_line(text) and "pip install 'procrop-data[gcs]'" in text


def users(server):
    """Keys of somebody who may read a bucket and not write."""
    import boto3

    iam = boto3.client("iam", endpoint_url=server[2].meta.endpoint_url)
    iam.create_user(UserName="reader")
    rights = {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rights]})
    iam.put_user_policy(UserName="reader", PolicyName="reads", PolicyDocument=policy)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    iam.close()
    return key["AccessKeyId"], key["SecretAccessKey"]


def test_no_right_to_write_and_wrong_credentials(said, server, photos, monkeypatch):
    import requests

    endpoint = server[2].meta.endpoint_url
    server[2].create_bucket(Bucket="closed")
    server[2].put_object(Bucket="closed", Key="theirs.txt", Body=b"1")
    reader, secret = users(server)
    server[1].none()
    requests.post(f"{endpoint}/moto-api/reset-auth", data="0", timeout=10)
    try:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", reader)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        code, text = said(*ingest("s3://closed/run-1", photos))
        assert code == 4 and one_line(text) and "lack a right on 's3://closed'" in text and secret not in text
        assert server[1].seen["PUT"] == 1  # what is forbidden is not asked for again
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")
        code, text = said(*ingest("s3://closed/run-2", photos))
        assert code == 4 and one_line(text) and "credentials" in text and "a-wrong-secret" not in text
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONGWRONGWRONG1")
        code, text = said(*ingest("s3://closed/run-3", photos))
        assert code == 4 and one_line(text) and "credentials" in text and "AKIAWRONG" not in text
    finally:
        requests.post(f"{endpoint}/moto-api/reset-auth", data="inf", timeout=10)
        monkeypatch.undo()
    assert [entry["Key"] for entry in server[2].list_objects_v2(Bucket="closed")["Contents"]] == ["theirs.txt"]


@pytest.mark.long
def test_the_commands_that_read_a_run(said, server, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("PROCROP_CACHE", str(tmp_path / "cache"))
    server[2].create_bucket(Bucket="mine")
    work = "s3://mine/run"
    assert said(*ingest(work, photos))[0] == 0
    code, text = said("status", "--work", work, "--json")
    assert code == 0 and json.loads(text)["stages"][0]["kept"] == 2
    code, text = said("verify", "--work", work, "--quiet")
    assert code == 0 and "all as the receipts say" in text
    code, text = said("plan", "--work", work, "--json")
    assert code == 0 and json.loads(text)["photos"] == 2
    code, text = said("lint", f"{work}/dataset/shards")
    assert code == 2 and one_line(text) and "aws s3 sync s3://mine/run/dataset/shards COPY" in text
    code, text = said("train", "--work", work)
    assert code == 2 and one_line(text) and "--out FOLDER" in text and "aws s3 sync s3://mine/run COPY" in text
    code, text = said("train", "--work", work, "--out", tmp_path / "model")
    assert code == 2 and "train needs the dataset" in text
    code, text = said("report", "--work", work, "--out", tmp_path / "page.html")
    assert code == 0 and "<html" in (tmp_path / "page.html").read_text()
    assert not Path("s3:").exists()
