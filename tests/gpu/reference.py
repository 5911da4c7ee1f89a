"""The reference tower on the GPU: transformers' own, with the patch embedding as it ships (Conv3d) or as its opt-in Linear,
and a straightforward PyTorch version for torch.compile."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F


def exact_fp32():
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def pixel_values(frames):
    """uint8 [frames, height, width, 3] on the GPU -> the processor's rows, fp32, and the grid (t, h, w)."""
    if frames.shape[0] % 2:
        frames = torch.cat([frames, frames[-1:]])
    values = (frames.float() - 127.5) / 127.5
    t, h, w = frames.shape[0] // 2, frames.shape[1] // 16, frames.shape[2] // 16
    cut = values.view(t, 2, h // 2, 2, 16, w // 2, 2, 16, 3)
    rows = cut.permute(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(t * h * w, 1536)
    return rows.contiguous(), (t, h, w)


def load_config(folder):
    return json.loads((Path(folder) / "config.json").read_text())["vision_config"]


def load_state(folder):
    from safetensors.torch import load_file

    return {name.removeprefix("model.visual."): value
            for path in sorted(Path(folder).glob("*.safetensors")) for name, value in load_file(path).items()}


def build(folder, dtype, *, linear=False):
    """transformers' tower. Only parameters are cast: the rotary frequencies stay in fp32."""
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

    config = Qwen3VLVisionConfig(**load_config(folder))
    config._attn_implementation = "sdpa"
    with torch.device("cuda"):
        model = Qwen3VLVisionModel(config).eval().requires_grad_(False)
    state = load_state(folder)
    model.load_state_dict({name: value.view(model.state_dict()[name].shape) for name, value in state.items()})
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    if linear:
        projection = model.patch_embed.proj
        weight, bias = projection.weight.flatten(1), projection.bias
        model.patch_embed.forward = lambda rows: F.linear(rows.view(-1, weight.shape[1]).to(weight.dtype), weight, bias)
    return model


def outputs(result):
    """[tokens, level 0, ...], each packed over the items, whatever this version of transformers returns."""
    def packed(value):
        return torch.cat(list(value)) if isinstance(value, (tuple, list)) else value

    return [packed(result.pooler_output)] + [packed(level) for level in (result.deepstack_features or [])]


class Straightforward(torch.nn.Module):
    """The tower over equal items, written plainly: what somebody would hand to torch.compile."""

    def __init__(self, folder, dtype, device="cuda"):
        super().__init__()
        self.config = load_config(folder)
        self.w = {name: value.to(device, dtype) for name, value in load_state(folder).items()}
        self.w["patch_embed.proj.weight"] = self.w["patch_embed.proj.weight"].flatten(1)

    def linear(self, x, scope):
        return F.linear(x, self.w[scope + ".weight"], self.w[scope + ".bias"])

    def norm(self, x, scope):
        return F.layer_norm(x, (x.shape[-1],), self.w[scope + ".weight"], self.w[scope + ".bias"], 1e-6)

    def merger(self, x, scope, width, before):
        x = self.norm(x, scope + ".norm").view(-1, 4 * width) if before else self.norm(x.view(-1, 4 * width), scope + ".norm")
        return self.linear(F.gelu(self.linear(x, scope + ".linear_fc1")), scope + ".linear_fc2")

    def forward(self, rows, position, cos, sin, length):
        config = self.config
        heads, width = config["num_heads"], config["hidden_size"]
        head = width // heads
        x = self.linear(rows, "patch_embed.proj") + position
        levels = []

        def rotate(y):
            a, b = y.float().chunk(2, -1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)

        for i in range(config["depth"]):
            scope = f"blocks.{i}"
            q, k, v = self.linear(self.norm(x, scope + ".norm1"), scope + ".attn.qkv").view(-1, 3, heads, head).unbind(1)
            split = lambda y: y.view(-1, length, heads, head).transpose(1, 2)
            y = F.scaled_dot_product_attention(split(rotate(q)), split(rotate(k)), split(v))
            x = x + self.linear(y.transpose(1, 2).reshape(-1, width), scope + ".attn.proj")
            y = F.gelu(self.linear(self.norm(x, scope + ".norm2"), scope + ".mlp.linear_fc1"), approximate="tanh")
            x = x + self.linear(y, scope + ".mlp.linear_fc2")
            if i in config["deepstack_visual_indexes"]:
                number = config["deepstack_visual_indexes"].index(i)
                levels.append(self.merger(x, f"deepstack_merger_list.{number}", width, False))
        return [self.merger(x, "merger", width, True)] + levels


def straightforward_inputs(config, count, h, w, dtype):
    """Position rows and rotary tables for `count` stills of h x w patches (values do not matter for timing)."""
    width, head = config["hidden_size"], config["hidden_size"] // config["num_heads"]
    rows = count * h * w
    angles = torch.rand(rows, 1, head // 2, device="cuda") * 6
    return torch.randn(rows, width, device="cuda", dtype=dtype) / 2, angles.cos(), angles.sin()


def work_flops(config, count, h, w):
    """Floating-point operations of the whole tower for `count` stills of h x w patches."""
    width, middle, out = config["hidden_size"], config["intermediate_size"], config["out_hidden_size"]
    rows, length = count * h * w, h * w
    blocks = config["depth"] * (2 * rows * (4 * width * width + 2 * width * middle) + 4 * rows * length * width)
    mergers = (1 + len(config["deepstack_visual_indexes"])) * 2 * (rows / 4) * (16 * width * width + 4 * width * out)
    return blocks + mergers + 2 * rows * 1536 * width


def median_ms(run, repeats):
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def gemm_ceiling():
    """TFLOP/s of one 8192^3 bf16 product on random values."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / median_ms(lambda: a @ b, 20) / 1e9
