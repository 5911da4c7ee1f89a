#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "preprocess/image.h"

namespace vitower {
namespace {

constexpr int64_t kMaxAspectRatio = 200;
constexpr int64_t kMaxFactor = int64_t{1} << 20;
// Sides and limits below these keep every product below 2^53: exact in a double, as Python's integers are.
constexpr int64_t kMaxSide = int64_t{1} << 26;
constexpr int64_t kMaxPixels = int64_t{1} << 52;

absl::Status CheckLimits(int64_t factor, int64_t min_pixels, int64_t max_pixels) {
  if (factor < 1 || factor > kMaxFactor) {
    return absl::InvalidArgumentError(absl::StrCat("the size factor must be in [1, ", kMaxFactor, "], got ", factor));
  }
  if (min_pixels < 1 || max_pixels > kMaxPixels || min_pixels > max_pixels) {
    return absl::InvalidArgumentError(
        absl::StrCat("min_pixels and max_pixels must hold 1 <= min_pixels <= max_pixels <= ", kMaxPixels,
                     ", got min_pixels ", min_pixels, " and max_pixels ", max_pixels));
  }
  return absl::OkStatus();
}

absl::Status CheckSize(ImageSize size) {
  const auto [shorter, longer] = std::minmax(size.height, size.width);
  if (shorter < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("image sides must be positive, got ", size.width, " x ", size.height));
  }
  const double ratio = static_cast<double>(longer) / static_cast<double>(shorter);
  if (ratio > kMaxAspectRatio) {
    return absl::InvalidArgumentError(absl::StrCat("absolute aspect ratio must be smaller than ", kMaxAspectRatio,
                                                   ", got ", ratio, " (", size.width, " x ", size.height, " pixels)"));
  }
  if (longer > kMaxSide) {
    return absl::InvalidArgumentError(absl::StrCat("image side of ", longer, " pixels, the limit is ", kMaxSide));
  }
  return absl::OkStatus();
}

// Half to even, like Python's round.
int64_t RoundTo(int64_t side, double factor) {
  return static_cast<int64_t>(std::nearbyint(static_cast<double>(side) / factor));
}

}  // namespace

absl::StatusOr<ImageSize> SmartResize(ImageSize size, int64_t factor, int64_t min_pixels, int64_t max_pixels) {
  if (absl::Status status = CheckLimits(factor, min_pixels, max_pixels); !status.ok()) return status;
  if (absl::Status status = CheckSize(size); !status.ok()) return status;
  const auto height = static_cast<double>(size.height);
  const auto width = static_cast<double>(size.width);
  const auto step = static_cast<double>(factor);
  const ImageSize rounded = {.height = RoundTo(size.height, step) * factor,
                             .width = RoundTo(size.width, step) * factor};
  const int64_t pixels = rounded.height * rounded.width;
  if (pixels > max_pixels) {
    // Two divisions, in this order: one by the product can round to another multiple.
    const double beta = std::sqrt(height * width / static_cast<double>(max_pixels));
    const auto shrink = [&](double side) { return static_cast<int64_t>(std::floor(side / beta / step)) * factor; };
    return ImageSize{.height = std::max(factor, shrink(height)), .width = std::max(factor, shrink(width))};
  }
  if (pixels < min_pixels) {
    const double beta = std::sqrt(static_cast<double>(min_pixels) / (height * width));
    const auto grow = [&](double side) { return static_cast<int64_t>(std::ceil(side * beta / step)) * factor; };
    return ImageSize{.height = grow(height), .width = grow(width)};
  }
  return rounded;
}

absl::StatusOr<ImageSize> TargetSize(const ImageHeader& header, const ImageOptions& options) {
  ImageSize size = header.size;
  if (options.apply_exif && header.exif_orientation >= 5) std::swap(size.height, size.width);
  if (options.patch_size < 1 || options.spatial_merge_size < 1 || options.patch_size > kMaxFactor ||
      options.spatial_merge_size > kMaxFactor) {
    return absl::InvalidArgumentError(absl::StrCat("patch size ", options.patch_size, " and spatial merge size ",
                                                   options.spatial_merge_size, " must be in [1, ", kMaxFactor, "]"));
  }
  const int64_t factor = options.patch_size * options.spatial_merge_size;
  if (options.do_resize) return SmartResize(size, factor, options.min_pixels, options.max_pixels);
  if (size.height < 1 || size.width < 1 || size.height % factor != 0 || size.width % factor != 0) {
    return absl::InvalidArgumentError(absl::StrCat("without do_resize, height and width must be multiples of ", factor,
                                                   ", got height ", size.height, " and width ", size.width));
  }
  return size;
}

}  // namespace vitower
