#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "preprocess/image.h"
#include "preprocess/size_rule.h"

namespace vitower {
namespace {

constexpr int64_t kMaxAspectRatio = 200;
constexpr int64_t kMaxFactor = int64_t{1} << 20;
constexpr int64_t kMaxSide = int64_t{1} << 26;
constexpr int64_t kMaxPixels = int64_t{1} << 52;

}  // namespace

absl::Status CheckSizeRule(const SizeRule& rule) {
  if (rule.factor < 1 || rule.factor > kMaxFactor) {
    return absl::InvalidArgumentError(
        absl::StrCat("the size factor must be in [1, ", kMaxFactor, "], got ", rule.factor));
  }
  if (rule.min_pixels < 1 || rule.max_pixels > kMaxPixels || rule.min_pixels > rule.max_pixels) {
    return absl::InvalidArgumentError(
        absl::StrCat("min_pixels and max_pixels must hold 1 <= min_pixels <= max_pixels <= ", kMaxPixels,
                     ", got min_pixels ", rule.min_pixels, " and max_pixels ", rule.max_pixels));
  }
  return absl::OkStatus();
}

absl::Status CheckSides(ImageSize size) {
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

absl::StatusOr<int64_t> SizeFactor(int64_t patch_size, int64_t spatial_merge_size) {
  if (patch_size < 1 || spatial_merge_size < 1 || patch_size > kMaxFactor || spatial_merge_size > kMaxFactor) {
    return absl::InvalidArgumentError(absl::StrCat("patch size ", patch_size, " and spatial merge size ",
                                                   spatial_merge_size, " must be in [1, ", kMaxFactor, "]"));
  }
  return patch_size * spatial_merge_size;
}

absl::Status CheckMultiples(ImageSize size, int64_t factor) {
  if (size.height >= 1 && size.width >= 1 && size.height % factor == 0 && size.width % factor == 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("without do_resize, height and width must be multiples of ", factor,
                                                 ", got height ", size.height, " and width ", size.width));
}

ImageSize FitSize(ImageSize size, const SizeRule& rule, int64_t frames, int64_t rounded_frames) {
  const auto height = static_cast<double>(size.height);
  const auto width = static_cast<double>(size.width);
  const auto step = static_cast<double>(rule.factor);
  const auto min_pixels = static_cast<double>(rule.min_pixels);
  const auto max_pixels = static_cast<double>(rule.max_pixels);
  const double volume = static_cast<double>(frames) * height * width;
  const auto multiple = [&](double steps) { return static_cast<int64_t>(steps) * rule.factor; };
  // Half to even, like Python's round.
  const ImageSize rounded = {.height = multiple(std::nearbyint(height / step)),
                             .width = multiple(std::nearbyint(width / step))};
  const double rounded_volume =
      static_cast<double>(rounded_frames) * static_cast<double>(rounded.height) * static_cast<double>(rounded.width);
  if (rounded_volume > max_pixels) {
    // Two divisions, in this order: one by the product can round to another multiple.
    const double beta = std::sqrt(volume / max_pixels);
    const auto shrink = [&](double side) { return std::max(rule.factor, multiple(std::floor(side / beta / step))); };
    return {.height = shrink(height), .width = shrink(width)};
  }
  if (rounded_volume < min_pixels) {
    const double beta = std::sqrt(min_pixels / volume);
    const auto grow = [&](double side) { return multiple(std::ceil(side * beta / step)); };
    return {.height = grow(height), .width = grow(width)};
  }
  return rounded;
}

absl::StatusOr<ImageSize> SmartResize(ImageSize size, int64_t factor, int64_t min_pixels, int64_t max_pixels) {
  const SizeRule rule = {.factor = factor, .min_pixels = min_pixels, .max_pixels = max_pixels};
  if (absl::Status status = CheckSizeRule(rule); !status.ok()) return status;
  if (absl::Status status = CheckSides(size); !status.ok()) return status;
  return FitSize(size, rule);
}

absl::StatusOr<ImageSize> TargetSize(const ImageHeader& header, const ImageOptions& options) {
  const ImageSize size = SizeAsShown(header, options.apply_exif);
  const absl::StatusOr<int64_t> factor = SizeFactor(options.patch_size, options.spatial_merge_size);
  if (!factor.ok()) return factor.status();
  if (options.do_resize) return SmartResize(size, *factor, options.min_pixels, options.max_pixels);
  if (absl::Status status = CheckMultiples(size, *factor); !status.ok()) return status;
  return size;
}

}  // namespace vitower
