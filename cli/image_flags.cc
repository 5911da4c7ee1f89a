#include "cli/image_flags.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/parse.h"

namespace vitower {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

void AddImageFlags(Options& options, ImageFlags* flags) {
  options.Add({"min-pixels", "N", "", "smallest area of the resized image, in pixels (default: the model's)"},
              Into(&flags->min_pixels, ParseInt, /*min=*/1));
  options.Add({"max-pixels", "N", "", "largest area of the resized image, in pixels (default: the model's)"},
              Into(&flags->max_pixels, ParseInt, /*min=*/1));
  options.AddSwitch("no-resize", "take images as they are: both sides must be multiples of 32 pixels",
                    &flags->no_resize);
  options.AddSwitch("no-exif", "do not turn images upright as their EXIF orientation says", &flags->no_exif);
  options.Add({"background", "COLOUR", "",
               "'#rrggbb' to put under transparent pixels (default: alpha is dropped, as the reference does)"},
              Into(&flags->background, ParseColor));
}

absl::StatusOr<ImageOptions> ToImageOptions(const ImageFlags& flags, const TowerConfig& tower,
                                            const ImageProcessorConfig& processor) {
  ImageOptions options;
  options.apply_exif = !flags.no_exif;
  options.background = flags.background;
  options.do_resize = !flags.no_resize;
  options.min_pixels = flags.min_pixels.value_or(processor.min_pixels);
  options.max_pixels = flags.max_pixels.value_or(processor.max_pixels);
  if (options.min_pixels > options.max_pixels) {
    return absl::InvalidArgumentError(absl::StrCat("--min-pixels ", options.min_pixels, " is above --max-pixels ",
                                                   options.max_pixels, " (what is unset is the model's own)"));
  }
  options.patch_size = tower.patch_size;
  options.spatial_merge_size = tower.spatial_merge_size;
  return options;
}

absl::StatusOr<PreparedImage> PrepareImage(const std::string& encoded, const ImageOptions& options) {
  const absl::Span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(encoded.data()), encoded.size());
  PreparedImage prepared;
  const auto decode_start = std::chrono::steady_clock::now();
  const absl::StatusOr<ImageHeader> header = ProbeImage(bytes);
  if (!header.ok()) return header.status();
  const absl::StatusOr<ImageSize> target = TargetSize(*header, options);
  if (!target.ok()) return target.status();
  absl::StatusOr<RgbImage> image = DecodeImage(bytes, *header, options);
  if (!image.ok()) return image.status();
  prepared.decode_seconds = SecondsSince(decode_start);

  const auto resize_start = std::chrono::steady_clock::now();
  absl::StatusOr<Frames> frames = ResizeToFrames(*std::move(image), *target, options);
  if (!frames.ok()) return frames.status();
  prepared.frames = *std::move(frames);
  prepared.resize_seconds = SecondsSince(resize_start);
  return prepared;
}

}  // namespace vitower
