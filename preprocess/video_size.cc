#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "preprocess/size_rule.h"
#include "preprocess/video.h"

namespace vitower {
namespace {

constexpr int64_t kMaxFrames = int64_t{1} << 30;

// A side below the factor: both are scaled until neither is.
ImageSize ScaleUpSmall(ImageSize size, int64_t factor) {
  if (size.height >= factor && size.width >= factor) return size;
  const auto height = static_cast<double>(size.height);
  const auto width = static_cast<double>(size.width);
  const double scale = std::max(static_cast<double>(factor) / height, static_cast<double>(factor) / width);
  return {.height = static_cast<int64_t>(height * scale), .width = static_cast<int64_t>(width * scale)};
}

int64_t RoundHalfEven(int64_t frames, int64_t multiple) {
  return static_cast<int64_t>(std::nearbyint(static_cast<double>(frames) / static_cast<double>(multiple))) * multiple;
}

absl::Status CheckFrames(int64_t frames, const ClipOptions& options) {
  if (options.temporal_patch_size < 1 || options.temporal_patch_size > kMaxFrames) {
    return absl::InvalidArgumentError(
        absl::StrCat("temporal patch size must be in [1, ", kMaxFrames, "], got ", options.temporal_patch_size));
  }
  if (frames < 1 || frames > kMaxFrames) {
    return absl::InvalidArgumentError(absl::StrCat("a clip must have 1 to ", kMaxFrames, " frames, got ", frames));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ImageSize> VideoSmartResize(int64_t frames, ImageSize size, const ClipOptions& options) {
  if (absl::Status status = CheckFrames(frames, options); !status.ok()) return status;
  const absl::StatusOr<int64_t> factor = SizeFactor(options.patch_size, options.spatial_merge_size);
  if (!factor.ok()) return factor.status();
  if (!options.do_resize) {
    if (absl::Status status = CheckMultiples(size, *factor); !status.ok()) return status;
    return size;
  }
  const SizeRule rule = {.factor = *factor, .min_pixels = options.min_pixels, .max_pixels = options.max_pixels};
  if (absl::Status status = CheckSizeRule(rule); !status.ok()) return status;
  if (absl::Status status = CheckSides(size); !status.ok()) return status;
  const ImageSize scaled = ScaleUpSmall(size, *factor);
  if (absl::Status status = CheckSides(scaled); !status.ok()) return status;
  const int64_t counted = std::max(frames, options.temporal_patch_size);
  return FitSize(scaled, rule, counted, RoundHalfEven(counted, options.temporal_patch_size));
}

absl::StatusOr<GridThw> ClipGrid(int64_t frames, ImageSize size, const ClipOptions& options) {
  const absl::StatusOr<ImageSize> target = VideoSmartResize(frames, size, options);
  if (!target.ok()) return target.status();
  const GridThw grid = {.t = (frames + options.temporal_patch_size - 1) / options.temporal_patch_size,
                        .h = target->height / options.patch_size,
                        .w = target->width / options.patch_size};
  const double patches = static_cast<double>(grid.t) * static_cast<double>(grid.h) * static_cast<double>(grid.w);
  if (patches > static_cast<double>(options.max_patches)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a clip of ", frames, " sampled frames of ", size.width, " x ", size.height, " pixels has a grid of ", grid.t,
        " x ", grid.h, " x ", grid.w, " = ", patches, " patches, the limit is ", options.max_patches));
  }
  return grid;
}

}  // namespace vitower
