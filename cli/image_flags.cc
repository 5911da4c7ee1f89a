#include "cli/image_flags.h"

#include "absl/strings/str_cat.h"
#include "cli/parse.h"

namespace vitower {

void AddImageFlags(Options& options, ImageFlags* flags) {
  options.Add({"min-pixels", "N", "", "smallest area of the resized image, in pixels (default: the model's)"},
              Into(&flags->min_pixels, ParseInt, /*min=*/1));
  options.Add({"max-pixels", "N", "", "largest area of the resized image, in pixels (default: the model's)"},
              Into(&flags->max_pixels, ParseInt, /*min=*/1));
  options.AddSwitch("no-resize", "take images and clips as they are: both sides must be multiples of 32 pixels",
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

}  // namespace vitower
