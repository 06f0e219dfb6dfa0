"""Pipelines of diffusers with random weights, on which speed does not depend: at full architecture, or small for a CPU."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxTransformer2DModel,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def random_pipeline(kind: str, small: bool, device: str, dtype: torch.dtype) -> Any:
    """``sd15-inpaint``, ``sdxl-inpaint`` or ``flux-fill``, silent and on its device. small: a few million parameters."""
    torch.manual_seed(0)
    with torch.device(device):
        default, before = dtype, torch.get_default_dtype()
        torch.set_default_dtype(default)  # built in its own precision: FLUX in float32 would not fit
        try:
            pipe = {"sd15-inpaint": _sd15, "sdxl-inpaint": _sdxl, "flux-fill": _flux}[kind](small)
        finally:
            torch.set_default_dtype(before)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device, dtype)


def _sd15(small: bool) -> Any:
    widths = (64, 128, 128, 128) if small else (320, 640, 1280, 1280)
    unet = UNet2DConditionModel(
        sample_size=64, in_channels=9, out_channels=4, block_out_channels=widths, layers_per_block=1 if small else 2,
        cross_attention_dim=768, attention_head_dim=8,
    )  # fmt: skip
    return StableDiffusionInpaintPipeline(
        vae=_vae(4, small), text_encoder=_clip(CLIPTextModel, 768, 12, 12), tokenizer=_clip_words(), unet=unet,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def _sdxl(small: bool) -> Any:
    unet = UNet2DConditionModel(
        sample_size=128, in_channels=9, out_channels=4, block_out_channels=(64, 128, 128) if small else (320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 1, 2] if small else [1, 2, 10], attention_head_dim=[2, 4, 4] if small else [5, 10, 20],
        layers_per_block=1 if small else 2, cross_attention_dim=2048, use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
    )  # fmt: skip
    words = _clip_words()
    return StableDiffusionXLInpaintPipeline(
        vae=_vae(4, small), text_encoder=_clip(CLIPTextModel, 768, 12, 12),
        text_encoder_2=_clip(CLIPTextModelWithProjection, 1280, 32 if not small else 2, 20), tokenizer=words,
        tokenizer_2=words, unet=unet, scheduler=EulerDiscreteScheduler(steps_offset=1), add_watermarker=False,
    )  # fmt: skip


def _flux(small: bool) -> Any:
    transformer = FluxTransformer2DModel(
        in_channels=384, out_channels=64, guidance_embeds=True, num_layers=1 if small else 19,
        num_single_layers=1 if small else 38, num_attention_heads=2 if small else 24,
    )  # fmt: skip
    t5 = T5Config(
        vocab_size=32128, d_model=4096, d_kv=64, d_ff=64 if small else 10240, num_layers=1 if small else 24,
        num_heads=2 if small else 64, feed_forward_proj="gated-gelu",
    )  # fmt: skip
    return FluxFillPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0), vae=_vae(16, small),
        text_encoder=_clip(CLIPTextModel, 768, 12, 12), tokenizer=_clip_words(), text_encoder_2=T5EncoderModel(t5).eval(),
        tokenizer_2=_t5_words(), transformer=transformer,
    )  # fmt: skip


def _vae(channels: int, small: bool) -> Any:
    widths = (32, 32, 64, 64) if small else (128, 256, 512, 512)
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=channels, block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1 if small else 2, norm_num_groups=32, sample_size=512,
        shift_factor=0.1159 if channels == 16 else None, use_quant_conv=channels == 4, use_post_quant_conv=channels == 4,
        scaling_factor=0.3611 if channels == 16 else 0.18215, force_upcast=False,
    ).eval()  # fmt: skip


def _clip(kind: Any, width: int, layers: int, heads: int) -> Any:
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads,
        max_position_embeddings=77, projection_dim=width, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return kind(config).eval()


def _clip_words() -> Any:
    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
        (Path(folder) / "merges.txt").write_text("#version: 0.2\n")
        return CLIPTokenizer(
            f"{folder}/vocab.json", f"{folder}/merges.txt", model_max_length=77, pad_token="<|endoftext|>"
        )


def _t5_words() -> Any:
    words = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", "▁", *LETTERS])}
    inner = Tokenizer(models.BPE(vocab=words, merges=[], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )
