#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "preprocess/video.h"

namespace vitower {

// The sampled frames of a clip, resized one by one into their final place. Not thread-safe. Add may throw
// std::bad_alloc.
class ClipWriter final {
 public:
  // For `frames` frames of `source` pixels. Refuses what the size rule and max_patches refuse, and with
  // RESOURCE_EXHAUSTED what memory has no room for.
  static absl::StatusOr<ClipWriter> Create(int64_t frames, ImageSize source, const ClipOptions& options);

  // The next frame, of `source` pixels. REQUIRES: fewer than `frames` were added.
  void Add(absl::Span<const uint8_t> rgb);

  // The last frame once more, as the sampling of a short clip may ask for. REQUIRES: as Add, and one was added.
  void Repeat();

  std::chrono::nanoseconds resize_time() const { return resize_time_; }

  // REQUIRES: all `frames` were added.
  Frames Finish() &&;

 private:
  ClipWriter(int64_t frames, ImageSize source, ImageSize target, GridThw grid);

  absl::Span<uint8_t> Slot(int64_t frame);

  int64_t frames_;
  ImageSize source_;
  ImageSize target_;
  GridThw grid_;
  int64_t next_ = 0;
  std::vector<uint8_t> rgb_;
  std::chrono::nanoseconds resize_time_{0};
};

// The clip around finished frames: timestamps and padding follow from the indices.
Clip MakeClip(Frames frames, std::vector<int64_t> indices, std::optional<double> fps, const ClipOptions& options);

// CANCELLED where `gone`, of ClipOptions, says that nobody waits for the clip any more.
absl::Status CheckWanted(const std::function<bool()>& gone);

// RESOURCE_EXHAUSTED that names the size.
absl::Status NoMemoryForClip(int64_t frames, ImageSize size);

}  // namespace vitower
