import json

import pytest
import torch

from benchmarks.random_pipelines import random_pipeline
from benchmarks.throughput import main


def test_ours_and_the_bare_call_paint_the_same(capsys):
    threads = torch.get_num_threads()
    try:
        main(["--steps", "1", "--canvases", "2", "--rounds", "1", "--batch", "2", "--side", "64", "--no-loop"])
    finally:
        torch.set_num_threads(threads)
    told = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix("RESULT "))
    assert told["bench"] == "throughput" and told["canvases"] == 5 and set(told["peers"]) == {"bare call"}
    assert 0 < told["model_busy_percent"] <= 100 and told["ours"] > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["sd15-inpaint", "sdxl-inpaint", "flux-fill"])
def test_full_architectures_have_the_published_size(kind):
    pipe = random_pipeline(kind, False, "cuda", torch.bfloat16)
    denoiser = pipe.transformer if kind == "flux-fill" else pipe.unet
    millions = sum(weight.numel() for weight in denoiser.parameters()) / 1e6
    assert millions == pytest.approx({"sd15-inpaint": 860, "sdxl-inpaint": 2567, "flux-fill": 11900}[kind], rel=0.01)
