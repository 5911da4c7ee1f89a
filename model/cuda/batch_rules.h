#pragma once

#include <cstdint>

namespace vitower {

// How attention is computed. kTiles is our own kernel, which takes any mixture of lengths from a list of tiles in
// device memory, so that one CUDA graph serves them all; bf16 and fp16, heads of 64 or 72. The others are libtorch's
// and run outside graphs: FlashAttention 2 for other heads, the formula itself for fp32.
enum class AttentionKind : uint8_t { kTiles, kFlash, kMath };

// What decides how a batch is run on a GPU. A device that lacks what is asked for takes the next best.
struct BatchRules {
  bool graphs = true;  // false: every pass is launched kernel by kernel
  AttentionKind attention = AttentionKind::kTiles;
  bool hopper = false;  // attention has the kernel for Hopper, which takes larger tiles
};

}  // namespace vitower
