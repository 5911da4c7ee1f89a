"""The reference implementation, and what it takes to load it here."""

import json

import torch
from torch import library


def import_torchvision():
    """Imports torchvision over a torch build whose operators its binary does not know.

    torchvision registers shapes for its own compiled operators on import and stops where they are missing. Nothing used
    here needs them, so those registrations are skipped.
    """
    register_fake = library.register_fake

    def skip_torchvision(name, *args, **options):
        if name.startswith("torchvision::"):
            return lambda function: function
        return register_fake(name, *args, **options)

    library.register_fake = skip_torchvision
    try:
        import torchvision
    finally:
        library.register_fake = register_fake
    return torchvision


# ---- Towers. transformers is imported where it is used: the preprocessing tests do without its models.

TOWER = dict(patch_size=16, temporal_patch_size=2, spatial_merge_size=2, in_channels=3, num_position_embeddings=2304,
             hidden_act="gelu_pytorch_tanh")


def random_tower_state(vision_config, seed):
    """A reference tower's weights, drawn so that every part of it matters (bf16 values, held in float32)."""
    generator = torch.Generator().manual_seed(seed)
    state = build_tower(vision_config, None, torch.float32).state_dict()
    for name, value in state.items():
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("bias"):
            noise *= 0.1
        elif value.dim() == 1:
            noise = 1 + 0.1 * noise
        elif name.startswith("pos_embed"):
            noise *= 0.5
        else:
            noise /= value[0].numel() ** 0.5
        if name.endswith("qkv.weight"):
            noise[: 2 * value.shape[1]] *= 1.4
        state[name] = noise.bfloat16().float()
    return state


def build_tower(vision_config, state, dtype):
    """A Qwen3VLVisionModel with these weights. Only parameters are cast: the rotary frequencies stay in float32."""
    import_torchvision()
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

    config = vision_config if not isinstance(vision_config, dict) else Qwen3VLVisionConfig(**vision_config)
    config._attn_implementation = "sdpa"
    model = Qwen3VLVisionModel(config).eval().requires_grad_(False)
    if state is not None:
        model.load_state_dict(state)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def save_tower(folder, vision_config, state, *, prefix="model.visual.", shards=1, linear_patch=False, dtype=torch.bfloat16):
    """A checkpoint folder as the hub's: config.json, the processors' files, safetensors in one file or several."""
    from safetensors.torch import save_file
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

    Qwen3VLConfig(vision_config=vision_config).save_pretrained(folder)
    image_processor().save_pretrained(folder)
    video_processor().save_pretrained(folder)
    tensors = {prefix + name: value.to(dtype) for name, value in state.items()}
    if linear_patch:
        name = prefix + "patch_embed.proj.weight"
        tensors[name] = tensors[name].flatten(1)
    if shards == 1:
        return save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    names = sorted(tensors)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        part["lm_head.weight" if shard == 0 else f"model.language_model.{shard}.weight"] = torch.zeros(3, dtype=dtype)
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map.update({name: file for name in part})
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def image_processor(**limits):
    import_torchvision()
    from transformers import Qwen2VLImageProcessor

    size = {"shortest_edge": 65536, "longest_edge": 16777216, **limits}
    return Qwen2VLImageProcessor(size=size, patch_size=16, temporal_patch_size=2, merge_size=2,
                                 image_mean=[0.5] * 3, image_std=[0.5] * 3)


def video_processor(**limits):
    import_torchvision()
    from transformers import Qwen3VLVideoProcessor

    size = {"shortest_edge": 4096, "longest_edge": 25165824, **limits}
    return Qwen3VLVideoProcessor(size=size, patch_size=16, temporal_patch_size=2, merge_size=2, image_mean=[0.5] * 3,
                                 image_std=[0.5] * 3)


def pixel_values(frames):
    """What the reference's processors make of one item, uint8 [frames, height, width, 3], without resizing: rows, grid."""
    if len(frames) == 1:
        out = image_processor()(images=list(frames), do_resize=False, input_data_format="channels_last",
                                return_tensors="pt")
        return out["pixel_values"], out["image_grid_thw"]
    out = video_processor()(videos=[torch.from_numpy(frames).permute(0, 3, 1, 2)], do_resize=False,
                            do_sample_frames=False, return_tensors="pt")
    return out["pixel_values_videos"], out["video_grid_thw"]


def run_tower(model, items):
    """Every stage and output of the reference over a packed batch of items, in float32, named as vitower names them."""
    stages = {}

    def keep(name):
        return lambda _module, _args, output: stages.__setitem__(name, output.float())

    hooks = [model.patch_embed.register_forward_hook(keep("patch_embed")),
             model.merger.register_forward_hook(keep("merger")),
             model.blocks[0].register_forward_pre_hook(lambda _module, args: stages.__setitem__("position", args[0].float()))]
    hooks += [block.register_forward_hook(keep(f"block_{i}")) for i, block in enumerate(model.blocks)]
    hooks += [merger.register_forward_hook(keep(f"deepstack_{i}"))
              for i, merger in enumerate(model.deepstack_merger_list)]
    rows, grids = zip(*(pixel_values(item) for item in items))
    rows = torch.cat(rows).to(next(model.parameters()).dtype)
    stages["pixel_values"] = rows.float()
    with torch.inference_mode():
        model(rows, torch.cat(grids))
    for hook in hooks:
        hook.remove()
    return stages
