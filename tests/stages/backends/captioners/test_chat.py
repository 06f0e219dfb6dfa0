import json
import pickle
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from pipeline.core.errors import ModelError, RefusedError, SampleError, UsageError
from pipeline.planning.recipe_files import parse
from stages.backends.base.protocols import Prompts
from stages.backends.captioners.response_cache import ResponseCache
from stages.backends.registry import ModelSettings

GOOD = {"inside": "a red  barn", "beyond": "fields", "negative": "text"}


class Endpoint:
    """A chat endpoint on this machine. answers: (status, body or words of the model, headers), the last one for ever."""

    def __init__(self):
        self.answers, self.seen, self.headers, self.busy, self.most = [(200, json.dumps(GOOD), {})], [], [], 0, 0
        self.lock, self.slow = threading.Lock(), 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                outer.reply(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def reply(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.seen.append(body)
            self.headers.append((handler.path, handler.headers.get("Authorization")))
            self.busy += 1
            self.most = max(self.most, self.busy)
            status, words, extra = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        time.sleep(self.slow)
        usage = {"prompt_tokens": 1000, "completion_tokens": 100}
        told = {"choices": [{"message": {"content": words}}], "usage": usage} if status == 200 else {"error": words}
        data = json.dumps(told).encode()
        with self.lock:
            self.busy -= 1
        handler.send_response(status)
        for name, value in {**extra, "Content-Length": str(len(data))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def endpoint():
    server = Endpoint()
    yield server
    server.close()


@pytest.fixture
def captioner(endpoint, tmp_path):
    def make(**over):
        data = {"kind": "chat", "base_url": endpoint.url, "model": "seer-1", "cache": str(tmp_path / "cache")}
        chosen = {**data, "backoff_s": 0.001, "key_env": "TEST_KEY", "retries": 3, **over}
        return ModelSettings.model_validate({"captioner": chosen}).captioner.build()

    return make


def picture(value=0, size=(40, 60)):
    return np.full((*size, 3), value, np.uint8)


def test_a_photo_and_a_question_become_three_prompts(endpoint, captioner, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "secret-123")
    assert captioner().caption([picture(size=(1000, 2000))], ["a title"]) == [Prompts("a red barn", "fields", "text")]
    (body,), (seen,) = endpoint.seen, endpoint.headers
    assert seen == ("/v1/chat/completions", "Bearer secret-123")
    text, image = body["messages"][0]["content"]
    assert "beyond" in text["text"] and image["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert body["model"] == "seer-1" and body["temperature"] == 0
    assert len(image["image_url"]["url"]) < 40_000  # it was made smaller


def test_nothing_is_asked_twice_even_by_another_worker(endpoint, captioner, tmp_path):
    first = captioner()
    prompts = first.caption([picture(1), picture(2)], ["", ""])
    again = pickle.loads(pickle.dumps(first)).caption([picture(1), picture(2)], ["", ""])
    assert again == prompts and len(endpoint.seen) == 2
    captioner(question="other?").caption([picture(1)], [""])
    assert len(endpoint.seen) == 3
    assert first.caption([], []) == []


def test_a_key_is_in_no_file_digest_or_error(endpoint, captioner, tmp_path, monkeypatch):
    one = captioner()
    monkeypatch.setenv("TEST_KEY", "secret-123")
    assert one.digest == captioner().digest != captioner(model="seer-2").digest
    one.caption([picture()], [""])
    assert all("secret-123" not in path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    endpoint.answers = [(401, "no", {})]
    with pytest.raises(ModelError, match="TEST_KEY") as caught:
        one.caption([picture(9)], [""])
    assert "secret-123" not in str(caught.value)
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(ModelError, match="which is not set"):
        one.caption([picture(9)], [""])


def test_a_busy_server_is_asked_again_later(endpoint, captioner):
    endpoint.answers = [(429, "slow down", {"Retry-After": "0.01"}), (503, "busy", {}), (200, json.dumps(GOOD), {})]
    assert captioner().caption([picture()], [""])[0].beyond == "fields"
    assert len(endpoint.seen) == 3


def test_the_waits_double_and_follow_the_server(endpoint, captioner):
    endpoint.answers = [(500, "", {}), (500, "", {}), (429, "", {"Retry-After": "7"}), (500, "", {})]
    waits, client = [], captioner(backoff_s=0.5)._client
    with pytest.raises(SampleError, match="after 4 tries"):
        type(client)(client.base_url, "", 5, 3, 0.5, waits.append).ask({})
    assert waits == [0.5, 1.0, 7.0]


def test_no_server_fails_the_sample(captioner):
    with pytest.raises(SampleError, match="after 2 tries"):
        captioner(base_url="http://127.0.0.1:9/v1", retries=1).caption([picture()], [""])


@pytest.mark.parametrize(
    "words", ["I cannot do that", "{}", '{"inside": "", "beyond": "x", "negative": ""}', '{"inside": 1', "[1, 2]"]
)
def test_a_response_in_another_form_fails_the_sample(endpoint, captioner, words):
    endpoint.answers = [(200, words, {})]
    with pytest.raises(SampleError) as caught:
        captioner().caption([picture()], [""])
    assert caught.value.reason == "bad_caption"
    endpoint.answers = [(200, f"```json\n{json.dumps(GOOD)}\n```", {})]
    assert captioner().caption([picture()], [""])[0].inside == "a red barn"


def test_a_refused_picture_is_that_samples_failure(endpoint, captioner):
    endpoint.answers = [(400, "content policy", {})]
    with pytest.raises(SampleError, match="content policy"):
        captioner().caption([picture()], [""])
    assert len(endpoint.seen) == 1


def test_requests_go_out_together_but_not_too_many(endpoint, captioner):
    endpoint.slow = 0.05
    captioner(concurrency=3).caption([picture(i) for i in range(9)], [""] * 9)
    assert 2 <= endpoint.most <= 3 and len(endpoint.seen) == 9


def test_the_budget_stops_the_run_and_counts_earlier_runs(endpoint, captioner):
    told = {"price_in": 2.0, "price_out": 10.0, "budget": 0.007, "concurrency": 1}  # 0.003 an answer
    with pytest.raises(RefusedError, match=r"0\.0090 of models\.captioner\.budget 0\.007"):
        captioner(**told).caption([picture(i) for i in range(5)], [""] * 5)
    assert len(endpoint.seen) == 3
    with pytest.raises(RefusedError):
        captioner(**told).caption([picture(7)], [""])
    assert len(captioner(**told).caption([picture(0)], [""])) == 1  # what was paid for stays
    assert len(captioner(**{**told, "budget": 1}).caption([picture(7)], [""])) == 1


def test_settings_that_cannot_work_are_refused(captioner):
    with pytest.raises(ModelError, match="price_in"):
        captioner(budget=1.0)
    with pytest.raises(UsageError, match=r"captioner\.base_url"):
        parse(ModelSettings, {"captioner": {"kind": "chat", "base_url": "ftp://x", "model": "m"}}, "x")


@pytest.mark.parametrize(
    "url", ["https://me:hunter22@host/v1", "https://hunter22@host/v1", "https://host/v1?key=hunter22"]
)
def test_a_key_in_the_address_is_refused_and_not_shown(url):
    with pytest.raises(UsageError, match="key_env alone") as said:
        parse(ModelSettings, {"captioner": {"kind": "chat", "base_url": url, "model": "m"}}, "x")
    shown = "".join(traceback.format_exception(said.value))
    assert "hunter22" not in shown


def test_threads_count_each_cost_once(tmp_path):
    for turn in range(20):
        cache = ResponseCache(tmp_path / str(turn), budget=100)
        for number in range(20):
            cache.put(f"{number:04d}", {}, 1.0)
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _, cache=cache: cache.spent, range(8))) == {20.0}


def test_a_key_does_not_follow_a_redirect(endpoint, captioner, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "secret-123")
    endpoint.answers = [(302, "", {"Location": endpoint.url})]
    with pytest.raises(SampleError):
        captioner(retries=0).caption([picture()], [""])
    assert len(endpoint.seen) == 1
