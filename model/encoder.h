#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "preprocess/frames.h"

namespace vitower {

enum class DType : uint8_t { kBf16, kFp16, kFp32 };

constexpr int64_t ByteSize(DType dtype) { return dtype == DType::kFp32 ? 4 : 2; }
constexpr std::string_view Name(DType dtype) {
  return dtype == DType::kBf16 ? "bf16" : dtype == DType::kFp16 ? "fp16" : "fp32";
}

// The shape of a tower, named as config.json's vision_config names it.
struct TowerConfig {
  int64_t depth = 0;
  int64_t hidden_size = 0;
  int64_t num_heads = 0;
  int64_t intermediate_size = 0;
  int64_t out_hidden_size = 0;
  int64_t patch_size = 16;
  int64_t temporal_patch_size = 2;
  int64_t spatial_merge_size = 2;
  int64_t in_channels = 3;
  int64_t num_position_embeddings = 2304;         // a square: 48 * 48
  std::vector<int64_t> deepstack_visual_indexes;  // 0-based block indices, ascending; empty for Qwen3.5

  int64_t head_dim() const { return hidden_size / num_heads; }
  int64_t patch_dim() const { return in_channels * temporal_patch_size * patch_size * patch_size; }
  int64_t merge_unit() const { return spatial_merge_size * spatial_merge_size; }  // patches in one token
};

// The image processor's limits and normalisation, from preprocessor_config.json.
struct ImageProcessorConfig {
  int64_t min_pixels = 0;  // areas of the resized image
  int64_t max_pixels = 0;
  float image_mean[3] = {0.5F, 0.5F, 0.5F};
  float image_std[3] = {0.5F, 0.5F, 0.5F};
};

// The video processor's limits and sampling, from video_preprocessor_config.json. Its mean and deviation are the image
// processor's: a checkpoint where they differ is refused.
struct VideoProcessorConfig {
  int64_t min_pixels = 0;  // volumes of the resized clip: frames * height * width
  int64_t max_pixels = 0;
  double fps = 2;  // frames taken a second of clip; the last three are the reference's own where the file has none
  int64_t min_frames = 4;
  int64_t max_frames = 768;
};

// What an encoder is. Constant for its life.
struct EncoderInfo {
  std::string name;         // "random:2b", or the checkpoint folder's own name
  std::string fingerprint;  // SHA-256 in hex over configuration, processors, dtype and weights
  std::string device;       // "cpu"
  DType dtype = DType::kBf16;
  int64_t weight_bytes = 0;  // as held in memory
  TowerConfig tower;
  ImageProcessorConfig image_processor;
  std::optional<VideoProcessorConfig> video_processor;  // unset where the checkpoint has none: clips are refused
};

// Patches that the client made itself, as the reference processor hands them out (pixel_values and
// pixel_values_videos): normalised, in merge-block row order.
struct PatchRows {
  OwnedBytes values;  // [grid.patches(), patch_dim], little-endian
  DType dtype = DType::kFp32;
  GridThw grid;
};

// One item of a forward pass, borrowed.
using TowerInput = std::variant<const Frames*, const PatchRows*>;

inline const GridThw& GridOf(const TowerInput& input) {
  return std::visit([](const auto* item) -> const GridThw& { return item->grid; }, input);
}

// Which outputs a forward pass computes. What is not wanted costs nothing.
struct OutputSet {
  bool tokens = true;
  std::vector<bool> deepstack;  // one for each of deepstack_visual_indexes
};

// A matrix [rows, cols] in host memory, row-major. `data` keeps the memory alive; rows == 0 where it was not wanted.
struct HostTensor {
  std::shared_ptr<const std::byte> data;
  int64_t rows = 0;
  int64_t cols = 0;
  DType dtype = DType::kBf16;
};

// The stages of one forward pass; they and `behind` add up to its duration.
struct ForwardTimes {
  // While a pass of another encoder of the device ran before it: waiting for that, and what staging it hides.
  std::chrono::nanoseconds behind{0};
  std::chrono::nanoseconds upload{0};       // frames to the device, patchified and normalised
  std::chrono::nanoseconds patch_embed{0};  // the Linear
  std::chrono::nanoseconds position{0};     // learned position rows and rotary tables
  std::chrono::nanoseconds blocks{0};
  std::chrono::nanoseconds merger{0};    // main merger and the DeepStack mergers
  std::chrono::nanoseconds download{0};  // outputs into host memory
};

struct EncodedBatch {
  std::vector<int64_t> token_offsets;  // [items + 1]: item i owns rows [offsets[i], offsets[i + 1]) of every output
  HostTensor tokens;                   // [n_tokens, out_hidden_size] in the encoder's dtype
  std::vector<HostTensor> deepstack;   // one for each of deepstack_visual_indexes, same shape
  ForwardTimes times;
};

// Turns frames into embeddings: the interface that the server knows. The tower implements it; so does a puppet in
// tests. Items of any sizes are packed without padding; an item's rows do not depend on its neighbours beyond
// floating-point noise. Not thread-safe: one worker calls Forward at a time. Forward blocks for the whole pass.
// Fails with INVALID_ARGUMENT for items that do not fit the tower, RESOURCE_EXHAUSTED where memory ran out (smaller
// batches may still pass) and INTERNAL for faults of the device.
class Encoder {
 public:
  virtual ~Encoder() = default;

  virtual const EncoderInfo& info() const = 0;

  // `items` are borrowed for the call. REQUIRES: wanted.deepstack.size() == deepstack_visual_indexes.size().
  virtual absl::StatusOr<EncodedBatch> Forward(absl::Span<const TowerInput> items, const OutputSet& wanted) = 0;
};

}  // namespace vitower
