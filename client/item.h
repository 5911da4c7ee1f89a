#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"

namespace vitower {

// What a client sends and gets. Plain values, without contracts of their own: what the server makes of them stands in
// vitower.proto. Unset options keep the server's values.

// The element type of values on the wire. kUnspecified in a request: the tower's own.
enum class WireDType : uint8_t { kUnspecified, kBf16, kFp16, kFp32 };

std::string_view Name(WireDType dtype);  // "bf16", ...

// Which frames of a clip are taken. Unset fields keep the model's values.
struct ClipSampling {
  std::optional<double> fps{};  // frames a second of clip; excludes num_frames
  std::optional<uint32_t> num_frames{};
  std::optional<uint32_t> min_frames{};
  std::optional<uint32_t> max_frames{};
  std::optional<double> start_seconds{};  // only frames shown in [start, end) are sampled
  std::optional<double> end_seconds{};
};

// An encoded image: JPEG, PNG, WebP, BMP or GIF.
struct ImageSource {
  std::string data{};
};

// An encoded clip: mp4, mov, mkv, webm, avi or an animated GIF.
struct VideoSource {
  std::string data{};
  ClipSampling sampling{};
};

// A clip as encoded images of one size, in order of time.
struct FramesSource {
  std::vector<std::string> images{};
  std::optional<double> fps{};             // for timestamps
  std::optional<ClipSampling> sampling{};  // unset: all frames are taken
};

// Decoded pixels, uint8 RGB: an image [height, width, 3], or a clip [frames, height, width, 3].
struct RgbSource {
  std::string data{};
  uint32_t frames = 0;  // 0: an image
  uint32_t height = 0;
  uint32_t width = 0;
  std::optional<double> fps{};             // of a clip, for timestamps
  std::optional<ClipSampling> sampling{};  // unset: all frames are taken
};

// pixel_values or pixel_values_videos rows [t*h*w, 1536] of the reference processor.
struct PatchesSource {
  std::string data{};  // raw little-endian values
  WireDType dtype = WireDType::kFp32;
  std::array<uint32_t, 3> grid_thw{};
};

using ItemSource = std::variant<ImageSource, VideoSource, FramesSource, RgbSource, PatchesSource>;

// The order in which items are taken into batches. A lower priority waits longer, never for ever.
enum class ItemPriority : uint8_t { kUnspecified, kHigh, kNormal, kLow };

// One image or clip to embed.
struct EmbedItem {
  std::string id{};  // comes back with the result
  ItemSource source{};

  std::optional<uint64_t> min_pixels{};  // areas of the resized image; of a clip, frames * height * width
  std::optional<uint64_t> max_pixels{};
  std::optional<bool> do_resize{};
  std::optional<bool> apply_exif{};
  std::optional<std::array<uint8_t, 3>> background{};  // RGB under transparent pixels

  // Which outputs; none named: tokens and every DeepStack level.
  bool tokens = false;
  std::vector<uint32_t> deepstack_levels{};
  bool pooled = false;         // the mean of all tokens, [hidden_size]
  bool pooled_slices = false;  // the mean of each temporal slice's, [t, hidden_size]
  bool l2_normalize = false;   // pooled and pooled_slices to length 1
  WireDType dtype = WireDType::kUnspecified;

  ItemPriority priority = ItemPriority::kUnspecified;
};

struct OutputTensor {
  std::string name;  // "tokens", "deepstack_0", ..., "pooled", "pooled_slices"
  std::vector<int64_t> shape;
  WireDType dtype = WireDType::kUnspecified;
  std::string data;  // raw little-endian values, row-major
};

struct EmbedResult {
  std::string id;
  absl::Status status;  // of this item; the fields below hold only where it is OK. RetryAfter (client.h) reads it
  std::array<int64_t, 3> grid_thw{};
  int64_t token_count = 0;
  int64_t hidden_size = 0;
  WireDType dtype = WireDType::kUnspecified;
  std::vector<OutputTensor> outputs;
  std::vector<std::string> outputs_not_sent;
  std::vector<std::pair<std::string, double>> stage_seconds;  // stage and seconds, in the order of the stages
  int64_t batch_items = 0;                                    // items that shared the forward pass
  int64_t batch_patches = 0;

  // Of a clip only.
  std::vector<int64_t> frame_indices;  // of the frames taken, in the whole clip
  std::optional<double> source_fps;
  std::vector<double> slice_timestamps;  // seconds, one for each temporal slice; empty where source_fps is unset
  bool padded = false;                   // the last frame was repeated to fill the last slice
};

// What a server serves, and the limits a client can meet.
struct ServedModel {
  std::string name;
  std::string fingerprint;
  std::string device;
  std::string server_version;
  WireDType dtype = WireDType::kUnspecified;
  int64_t out_hidden_size = 0;
  int64_t patch_size = 0;
  int64_t temporal_patch_size = 0;
  int64_t spatial_merge_size = 0;
  std::vector<int64_t> deepstack_visual_indexes;
  std::vector<std::string> outputs;
  int64_t min_pixels = 0;
  int64_t max_pixels = 0;
  int64_t video_min_pixels = 0;  // frames * height * width; both 0: the model takes no clips
  int64_t video_max_pixels = 0;
  int64_t max_request_bytes = 0;
  int64_t max_reply_bytes = 0;
  int64_t max_request_items = 0;
  int64_t max_item_patches = 0;
  int64_t max_stream_items = 0;    // in flight on one stream
  int64_t stream_chunk_bytes = 0;  // a larger item goes in parts of this size
};

}  // namespace vitower
