"""Checkpoints in exactly the hub's layout, of the public libraries' own classes, small enough to be built in a test."""

import json

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3InpaintPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from segment_anything.build_sam import _build_sam
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BartTokenizer,
    BertTokenizer,
    BitImageProcessor,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    GPT2Tokenizer,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
    SamConfig,
    SamImageProcessor,
    SamModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    T5Config,
    T5EncoderModel,
)

SDXL = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 80}
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.-"


def clip_tokenizer(folder, length=16):
    """A CLIP tokenizer whose vocabulary is single letters, with and without the end of a word."""
    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=length, pad_token="<|endoftext|>"
    )


def t5_tokenizer():
    """A tokenizer of single letters in the form that T5's is stored in."""
    words = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", "▁", *LETTERS])}
    inner = Tokenizer(models.BPE(vocab=words, merges=[], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=16
    )


def clip_text(kind, width, projection=32):
    config = CLIPTextConfig(
        vocab_size=80, hidden_size=width, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, projection_dim=projection, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return kind(config).eval()


def vae(channels=4):
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), in_channels=3, out_channels=3, latent_channels=channels, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, sample_size=64,
        shift_factor=0.1 if channels > 4 else None, use_quant_conv=channels == 4, use_post_quant_conv=channels == 4,
    )  # fmt: skip


def unet(context, inputs=9, **extra):
    return UNet2DConditionModel(
        sample_size=8, in_channels=inputs, out_channels=4, layers_per_block=1, block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=context, norm_num_groups=4, attention_head_dim=4, **extra,
    )  # fmt: skip


def safety_checker():
    """A checker that lists nothing: its concepts' thresholds are out of a cosine's reach."""
    config = CLIPConfig(
        text_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        vision_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 32, "patch_size": 16,
        },
        projection_dim=16,
    )  # fmt: skip
    checker = StableDiffusionSafetyChecker(config)
    with torch.no_grad():
        checker.concept_embeds_weights.fill_(9)
        checker.special_care_embeds_weights.fill_(9)
    return checker, CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def stable_diffusion(folder, context=768, inputs=9, checker=True):
    """SD 1.5's layout, or with ``context`` 1024 SD 2's."""
    torch.manual_seed(0)
    safety, processor = safety_checker() if checker else (None, None)
    pipe = StableDiffusionInpaintPipeline(
        vae=vae(), text_encoder=clip_text(CLIPTextModel, context), tokenizer=clip_tokenizer(folder / "words"),
        unet=unet(context, inputs), scheduler=PNDMScheduler(skip_prk_steps=True, steps_offset=1), safety_checker=safety,
        feature_extractor=processor, requires_safety_checker=checker,
    )  # fmt: skip
    pipe.save_pretrained(folder / "model")
    return folder / "model"


def stable_diffusion_xl(folder):
    """SDXL's layout with its two text encoders, 768 + 1280 wide."""
    torch.manual_seed(0)
    words = clip_tokenizer(folder / "words")
    pipe = StableDiffusionXLInpaintPipeline(
        vae=vae(), text_encoder=clip_text(CLIPTextModel, 768), tokenizer=words,
        text_encoder_2=clip_text(CLIPTextModelWithProjection, 1280), tokenizer_2=words,
        unet=unet(2048, **SDXL),
        scheduler=PNDMScheduler(skip_prk_steps=True, steps_offset=1),
    )  # fmt: skip
    pipe.save_pretrained(folder / "model")
    return folder / "model"


def flux_fill(folder):
    """FLUX Fill's layout: CLIP and T5, a transformer over packed latents with 384 input channels."""
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=384, out_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=4096, pooled_projection_dim=32, guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    t5 = T5Config(vocab_size=60, d_model=4096, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    pipe = FluxFillPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), vae=vae(16), text_encoder=clip_text(CLIPTextModel, 32),
        tokenizer=clip_tokenizer(folder / "words"), text_encoder_2=T5EncoderModel(t5).eval(), tokenizer_2=t5_tokenizer(),
        transformer=transformer,
    )  # fmt: skip
    pipe.save_pretrained(folder / "model")
    return folder / "model"


def stable_diffusion_3(folder):
    """SD 3's layout: two CLIP encoders, T5, a transformer over latents with 16 channels."""
    torch.manual_seed(0)
    words = clip_tokenizer(folder / "words")
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=16, out_channels=16, num_layers=1, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=4096, caption_projection_dim=16, pooled_projection_dim=64,
        pos_embed_max_size=16,
    )  # fmt: skip
    t5 = T5Config(vocab_size=60, d_model=4096, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    pipe = StableDiffusion3InpaintPipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=vae(16), tokenizer=words,
        text_encoder=clip_text(CLIPTextModelWithProjection, 32), tokenizer_2=words, tokenizer_3=t5_tokenizer(),
        text_encoder_2=clip_text(CLIPTextModelWithProjection, 32), text_encoder_3=T5EncoderModel(t5).eval(),
    )  # fmt: skip
    pipe.save_pretrained(folder / "model")
    return folder / "model"


def z_image(folder):
    """Z-Image's layout: a language model that reads the prompt, a transformer over latents with 16 channels."""
    torch.manual_seed(0)
    words = t5_tokenizer()
    words.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    text = Qwen3Config(
        vocab_size=60, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=512,
    )  # fmt: skip
    transformer = ZImageTransformer2DModel(
        in_channels=16, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[4, 6, 6], axes_lens=[1024, 64, 64],
    )  # fmt: skip
    with torch.no_grad():
        for weight in transformer.parameters():
            weight.add_(0.02 * torch.randn_like(weight))  # some are zero or uninitialised
    pipe = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=vae(16), text_encoder=Qwen3Model(text).eval(),
        tokenizer=words, transformer=transformer,
    )  # fmt: skip
    pipe.save_pretrained(folder / "model")
    return folder / "model"


def controlnet(folder, context=768, noise=0.05, **extra):
    """A ControlNet for ``stable_diffusion``'s UNet."""
    torch.manual_seed(1)
    net = ControlNetModel.from_unet(unet(context, 4, **extra), conditioning_embedding_out_channels=(4, 8, 8, 8))
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(noise * torch.randn_like(weight))  # fresh ones are zero at the end and steer nothing
    net.save_pretrained(folder / "controlnet")
    return folder / "controlnet"


def letters_tokenizer(kind, specials, **options):
    """A fast tokenizer of single letters as ``kind`` stores it; ``options`` name its special tokens."""
    words = {word: i for i, word in enumerate([*specials, "Ġ", *LETTERS, *(f"Ġ{letter}" for letter in LETTERS)])}
    return kind(vocab=words, merges=[], **options)


def blip(folder):
    """BLIP's layout."""
    torch.manual_seed(2)
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *LETTERS])}
    words |= {f"##{letter}": len(words) + i for i, letter in enumerate(LETTERS)}
    config = BlipConfig(
        text_config={
            "vocab_size": len(words), "hidden_size": 16, "encoder_hidden_size": 16, "intermediate_size": 16,
            "projection_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64,
            "bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 32, "patch_size": 16,
        },
    )  # fmt: skip
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), BertTokenizer(vocab=words)).save_pretrained(
        folder
    )
    return folder


def blip2(folder):
    """BLIP-2's layout: a Q-Former between the picture and OPT."""
    torch.manual_seed(3)
    specials = ["<pad>", "</s>", "<unk>", "<image>"]
    words = letters_tokenizer(
        GPT2Tokenizer, specials, pad_token="<pad>", eos_token="</s>", bos_token="</s>", unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    layer = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    config = Blip2Config(
        vision_config={**layer, "image_size": 32, "patch_size": 16},
        qformer_config={**layer, "encoder_hidden_size": 16, "vocab_size": 50},
        text_config={
            "model_type": "opt", "vocab_size": len(words), "hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "word_embed_proj_dim": 16, "max_position_embeddings": 96, "pad_token_id": 0,
            "bos_token_id": 1, "eos_token_id": 1,
        },
        num_query_tokens=4, image_text_hidden_size=16, image_token_index=3,
    )  # fmt: skip
    Blip2ForConditionalGeneration(config).save_pretrained(folder)
    images = BlipImageProcessor(size={"height": 32, "width": 32})
    Blip2Processor(images, words, num_query_tokens=4).save_pretrained(folder)
    return folder


def florence(folder):
    """Florence-2's layout as transformers stores it."""
    torch.manual_seed(4)
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<image>"]
    words = letters_tokenizer(
        BartTokenizer, specials, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        mask_token="<mask>", extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    config = Florence2Config(
        text_config={
            "model_type": "bart", "vocab_size": len(words), "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
            "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
            "max_position_embeddings": 128, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
            "decoder_start_token_id": 2, "forced_eos_token_id": 2,
        },
        vision_config={
            "embed_dim": (8, 8, 8, 16), "num_heads": (2, 2, 2, 2), "num_groups": (2, 2, 2, 2), "depths": (1, 1, 1, 1),
            "window_size": 2, "projection_dim": 16,
        },
        image_token_id=5,
    )  # fmt: skip
    Florence2ForConditionalGeneration(config).save_pretrained(folder)
    images = CLIPImageProcessor(size={"height": 64, "width": 64}, do_center_crop=False)
    images.image_seq_length = 5
    Florence2Processor(images, words).save_pretrained(folder)
    return folder


VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8}


def clip_vision(folder):
    """CLIP's layout, text half and all."""
    torch.manual_seed(5)
    text = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 90,
    }
    CLIPModel(
        CLIPConfig(
            text_config=text, vision_config={**VISION, "image_size": 32, "projection_dim": 16}, projection_dim=16
        )
    ).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def siglip_vision(folder):
    """SigLIP's layout, text half and all."""
    torch.manual_seed(6)
    text = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 90,
    }
    config = SiglipConfig(text_config={**text, "projection_size": 16}, vision_config={**VISION, "image_size": 32})
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def sam_official(file, width=32):
    """The official layout: a state dict of the package's own classes with a thin image encoder."""
    torch.manual_seed(7)
    torch.save(_build_sam(width, 2, 2, [1]).state_dict(), file)
    return file


def sam_hub(folder):
    """SAM as transformers stores it, for pictures of 128 pixels."""
    torch.manual_seed(8)
    config = SamConfig(
        vision_config={
            "hidden_size": 16, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 128,
            "global_attn_indexes": [1], "window_size": 2, "mlp_dim": 16, "num_pos_feats": 16,
            "initializer_range": 0.1,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 128, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 32, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16, "num_hidden_layers": 1,
        },
    )  # fmt: skip
    SamModel(config).save_pretrained(folder)
    SamImageProcessor().save_pretrained(folder)
    return folder


def dinov2(folder):
    """DINOv2's layout."""
    torch.manual_seed(9)
    Dinov2Model(Dinov2Config(**VISION, image_size=32)).save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
