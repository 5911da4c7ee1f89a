#include "server/preprocessing_check.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

// Areas and volumes above this are no image's and no clip's: larger overrides mean the same, and fit the arithmetic of
// the size rules.
constexpr uint64_t kMostPixels = uint64_t{1} << 40;

absl::Status SetPixels(std::string_view field, std::optional<uint64_t> value, int64_t& pixels) {
  if (!value) return absl::OkStatus();
  if (*value == 0) return BadInput("preprocessing.", field, " is 0; it must be at least 1");
  pixels = static_cast<int64_t>(std::min(*value, kMostPixels));
  return absl::OkStatus();
}

// Of images and clips alike.
template <typename Options>
absl::Status SetSizes(const v1::Preprocessing& wanted, Options& options) {
  std::optional<uint64_t> min_pixels;
  std::optional<uint64_t> max_pixels;
  if (wanted.has_min_pixels()) min_pixels = wanted.min_pixels();
  if (wanted.has_max_pixels()) max_pixels = wanted.max_pixels();
  if (wanted.has_do_resize()) options.do_resize = wanted.do_resize();
  if (!options.do_resize && (min_pixels || max_pixels)) {
    return BadInput("preprocessing.", min_pixels ? "min_pixels" : "max_pixels",
                    " is set, and preprocessing.do_resize is false: nothing will be resized");
  }
  if (absl::Status set = SetPixels("min_pixels", min_pixels, options.min_pixels); !set.ok()) return set;
  if (absl::Status set = SetPixels("max_pixels", max_pixels, options.max_pixels); !set.ok()) return set;
  if (options.min_pixels <= options.max_pixels) return absl::OkStatus();
  return BadInput("preprocessing.min_pixels is ", options.min_pixels, min_pixels ? "" : " (the model's own)",
                  ", above max_pixels, which is ", options.max_pixels, max_pixels ? "" : " (the model's own)");
}

absl::Status SetBackground(const v1::Rgb& colour, ImageOptions& options) {
  const std::pair<const char*, uint32_t> channels[] = {
      {"red", colour.red()}, {"green", colour.green()}, {"blue", colour.blue()}};
  std::array<uint8_t, 3> rgb{};
  for (size_t i = 0; i < rgb.size(); ++i) {
    const auto [name, value] = channels[i];
    if (value > 255) return BadInput("preprocessing.background.", name, " is ", value, "; a channel is 0 to 255");
    rgb[i] = static_cast<uint8_t>(value);
  }
  options.background = rgb;
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckOverrides(const v1::Preprocessing& wanted, OverrideKinds kinds, std::string_view source) {
  struct Override {
    std::string_view field;
    bool set;
    bool allowed;
  };
  const Override overrides[] = {{"min_pixels", wanted.has_min_pixels(), kinds.size},
                                {"max_pixels", wanted.has_max_pixels(), kinds.size},
                                {"do_resize", wanted.has_do_resize(), kinds.size},
                                {"apply_exif", wanted.has_apply_exif(), kinds.encoding},
                                {"background", wanted.has_background(), kinds.encoding}};
  for (const Override& one : overrides) {
    if (one.set && !one.allowed) {
      return BadInput("preprocessing.", one.field, " is set, and means nothing to the source ", source);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ImageOptions> DecodeOptionsOf(const v1::Preprocessing& wanted) {
  ImageOptions options;
  if (wanted.has_apply_exif()) options.apply_exif = wanted.apply_exif();
  if (wanted.has_background()) {
    if (absl::Status set = SetBackground(wanted.background(), options); !set.ok()) return set;
  }
  return options;
}

absl::StatusOr<ImageOptions> ImageOptionsOf(const v1::Preprocessing& wanted, const EncoderInfo& info) {
  absl::StatusOr<ImageOptions> options = DecodeOptionsOf(wanted);
  if (!options.ok()) return options;
  options->min_pixels = info.image_processor.min_pixels;
  options->max_pixels = info.image_processor.max_pixels;
  options->patch_size = info.tower.patch_size;
  options->spatial_merge_size = info.tower.spatial_merge_size;
  if (absl::Status set = SetSizes(wanted, *options); !set.ok()) return set;
  return options;
}

absl::StatusOr<ClipOptions> ClipOptionsOf(const v1::Preprocessing& wanted, const EncoderInfo& info,
                                          const ItemLimits& limits) {
  ClipOptions options;
  options.min_pixels = info.video_processor->min_pixels;
  options.max_pixels = info.video_processor->max_pixels;
  options.patch_size = info.tower.patch_size;
  options.temporal_patch_size = info.tower.temporal_patch_size;
  options.spatial_merge_size = info.tower.spatial_merge_size;
  options.max_patches = limits.max_item_patches;
  if (absl::Status set = SetSizes(wanted, options); !set.ok()) return set;
  return options;
}

}  // namespace vitower
