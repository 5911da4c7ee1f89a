// private header
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/cuda/batch_layout.h"

namespace vitower {

// Kernels of our own: raw device pointers and a stream, no library. Every launch is asynchronous, allocates nothing and
// returns what cudaGetLastError says. Rows are packed over all items of a batch, row-major, 16-byte aligned.

enum class Element : uint8_t { kBf16, kFp16, kFp32 };

constexpr int64_t ElementBytes(Element element) { return element == Element::kFp32 ? 4 : 2; }

// The items of a batch, in device memory.
struct DeviceItems {
  const ItemPlace* items;
  int32_t count;
  int32_t patches;  // of all items; rows behind them are padding
};

struct PatchifyArgs {
  DeviceItems batch;
  const uint8_t* bytes;  // the uploaded block
  int32_t rows;          // patches and padding; padding becomes zeros
  float mean[3];         // of levels 0 to 255
  float deviation[3];
  void* out;  // [rows, 1536]: channel, time, y, x
};
cudaError_t LaunchPatchify(Element element, const PatchifyArgs& args, cudaStream_t stream);

struct PositionArgs {
  DeviceItems batch;
  int32_t side;              // of the square table of positions
  int32_t width;             // hidden_size
  int32_t head_dim;          // a multiple of 4
  const void* table;         // [side * side, width]
  const float* frequencies;  // [head_dim / 4]
  void* x;                   // [rows, width]: the positions are added
  float* rotary;             // [rows, head_dim]: cosines, then sines
};
cudaError_t LaunchPosition(Element element, const PositionArgs& args, int32_t rows, cudaStream_t stream);

struct LayerNormArgs {
  const void* x;
  const void* weight;  // this and bias: not written by work on the stream
  const void* bias;
  void* out;
  int64_t rows;
  int32_t width;  // a multiple of 8
  float epsilon;
};
cudaError_t LaunchLayerNorm(Element element, const LayerNormArgs& args, cudaStream_t stream);

// Turns the heads of rows [q | k | v] in place, those of q and k or those of k alone.
struct RotaryArgs {
  void* qkv;  // [rows, 3 * heads * head_dim]
  const float* rotary;
  int64_t rows;
  int32_t heads;
  int32_t head_dim;
  bool keys_only;
};
cudaError_t LaunchRotary(Element element, const RotaryArgs& args, cudaStream_t stream);

// In place: the exact GELU or its tanh approximation, in fp32.
enum class GeluKind : uint8_t { kErf, kTanh };
cudaError_t LaunchGelu(Element element, GeluKind kind, void* x, int64_t count, cudaStream_t stream);

// Attention over tiles, bf16 or fp16, heads of 64 or 72. Queries are turned by `rotary` on the way in; keys must be
// already.
struct TileAttentionArgs {
  const void* qkv;  // [rows, 3 * heads * head_dim]
  const float* rotary;
  const AttentionTile* tiles;
  const int32_t* tile_count;  // in device memory
  void* out;                  // [rows, heads * head_dim]
  int32_t heads;
  int32_t head_dim;
  int32_t tile_rows;  // the most queries of a tile: kTileRows or fewer
  int32_t blocks;     // thread blocks, as the function below says
};
cudaError_t LaunchTileAttention(Element element, const TileAttentionArgs& args, cudaStream_t stream);
// The same on Hopper's own matrix instructions; tile_rows is kSmallTileRows, kHopperTileRows or kShortTileRows.
cudaError_t LaunchHopperAttention(Element element, const TileAttentionArgs& args, cudaStream_t stream);

// How many thread blocks of either kernel the current device runs at a time; 0 where it cannot run it, or not with such
// tiles.
int32_t TileAttentionBlocks(Element element, int32_t head_dim);
int32_t HopperAttentionBlocks(Element element, int32_t head_dim, int32_t tile_rows);

// Copies and converts.
cudaError_t LaunchConvert(Element from, const void* source, Element to, void* target, int64_t count,
                          cudaStream_t stream);

}  // namespace vitower
