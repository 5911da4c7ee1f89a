#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "preprocess/frames.h"
#include "preprocess/image.h"

namespace vitower {

// From clips to frames sized for the tower. ProbeVideo looks at the container's header, and a little beyond where that
// does not say enough, so that a server can refuse a clip before any work; DecodeVideo reads the clip from memory,
// decodes what the sampling needs and resizes each frame as it comes, so that memory holds the sampled frames only.
// Containers and codecs on a list, read with libavformat, libavcodec and libswscale. All functions are thread-safe,
// keep no reference to their arguments and block only for their own computing. Whatever the bytes are, they return
// INVALID_ARGUMENT with a message that names what is wrong and the limit (RESOURCE_EXHAUSTED where memory runs out):
// they never throw.

struct VideoLimits {
  int64_t max_frame_pixels = 0;  // of a frame as encoded
  double max_seconds = 0;        // of the clip, whatever is sampled of it
  int64_t max_frames = 0;        // in the clip as encoded, whatever is sampled of it
};

// What the container claims, before anything is decoded.
struct VideoHeader {
  std::string container;        // "mp4", "matroska", "avi", "gif"
  std::string codec;            // "h264", ...
  ImageSize size;               // pixels, upright: the display matrix is applied
  std::optional<double> fps;    // frames per second
  int64_t frame_count = 0;      // exact where the container counts frames, else duration * fps; 0 where unknown
  double duration_seconds = 0;  // 0 where unknown
  bool reckoned = false;        // the container says neither: from how many frames its first bytes hold
};

absl::StatusOr<VideoHeader> ProbeVideo(absl::Span<const uint8_t> bytes, const VideoLimits& limits);

// Which frames of a clip are taken. The rule is the reference's (transformers, Qwen3VLVideoProcessor.sample_frames):
// either num_frames, or n = clamp(int(total / source_fps * fps), min_frames, max_frames), at most total; the indices
// are the half-even rounded points of a linspace over the clip, first and last frame included.
struct SamplingOptions {
  double fps = 2;
  std::optional<int64_t> num_frames = std::nullopt;  // excludes fps
  int64_t min_frames = 4;
  int64_t max_frames = 768;
  // Only the frames shown in [start, end) are sampled; total is then their number.
  std::optional<double> start_seconds = std::nullopt;
  std::optional<double> end_seconds = std::nullopt;
};

// Ascending indices into a clip of `total` frames. `source_fps` unset counts as 24, as in the reference.
absl::StatusOr<std::vector<int64_t>> SampleFrames(int64_t total, std::optional<double> source_fps,
                                                  const SamplingOptions& options);

// One for each temporal slice, in seconds: the mean of the times of its first and last frame (index / source_fps),
// where the last index is repeated until it fills the slice.
std::vector<double> SliceTimestamps(absl::Span<const int64_t> indices, double source_fps, int64_t temporal_patch_size);

struct ClipOptions {
  bool do_resize = true;   // false: both sides must already be multiples of patch_size * spatial_merge_size
  int64_t min_pixels = 0;  // volumes of the resized clip: frames * height * width
  int64_t max_pixels = 0;
  int64_t patch_size = 16;
  int64_t temporal_patch_size = 2;
  int64_t spatial_merge_size = 2;
  int64_t max_patches = 0;  // of the resized clip: a larger one is refused before it is decoded
  // Whether nobody waits for the clip any more: asked every few packets and before each image, on the calling thread.
  // Decoding ends with CANCELLED then. Empty: never.
  std::function<bool()> gone{};
};

// The reference's three-dimensional size rule (transformers 5.18, qwen3_vl video smart_resize): `frames` is the number
// sampled, before padding. One frame, which the reference refuses, counts as two. Refuses an aspect ratio above 200.
absl::StatusOr<ImageSize> VideoSmartResize(int64_t frames, ImageSize size, const ClipOptions& options);

// The grid a clip of so many sampled frames of this size gets. Refuses one above max_patches.
absl::StatusOr<GridThw> ClipGrid(int64_t frames, ImageSize size, const ClipOptions& options);

// A sampled clip, sized for the tower.
struct Clip {
  Frames frames;                       // frame_count: those sampled, before padding
  std::vector<int64_t> frame_indices;  // of the sampled frames, in the clip as encoded (all of it, not of [start, end))
  std::optional<double> source_fps;
  std::vector<double> slice_timestamps;  // seconds, one for each temporal slice; empty where fps is unknown
  bool padded = false;                   // the last frame is repeated to fill its slice
  std::chrono::nanoseconds decode_time{0};
  std::chrono::nanoseconds resize_time{0};
};

// A clip that is damaged, cut short or shorter than it claims is refused, never filled up.
absl::StatusOr<Clip> DecodeVideo(absl::Span<const uint8_t> bytes, const VideoLimits& limits,
                                 const SamplingOptions& sampling, const ClipOptions& options);

// A clip of encoded images, all of one upright size, in order of time. Without `sampling` all are taken.
// The message of an error names the image by its index. `limits.max_frame_pixels` holds for each.
absl::StatusOr<Clip> DecodeFrameList(absl::Span<const absl::Span<const uint8_t>> images, std::optional<double> fps,
                                     const std::optional<SamplingOptions>& sampling, const VideoLimits& limits,
                                     const ImageOptions& decode, const ClipOptions& options);

// A clip of decoded pixels, uint8 RGB [frame_count, size.height, size.width, 3]. Without `sampling` all frames are
// taken; pixels that have the right size already are moved, not copied. REQUIRES: rgb has exactly that many bytes.
absl::StatusOr<Clip> ResizeClip(OwnedBytes rgb, int64_t frame_count, ImageSize size, std::optional<double> fps,
                                const std::optional<SamplingOptions>& sampling, const ClipOptions& options);

}  // namespace vitower
