#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "preprocess/image.h"
#include "preprocess/resample.h"

namespace vitower {
namespace {

absl::Status CheckRequest(const RgbImage& image, ImageSize target, const ImageOptions& options) {
  const auto [height, width] = image.size;
  if (height < 1 || width < 1 || static_cast<int64_t>(image.rgb.size()) != height * width * 3) {
    return absl::InvalidArgumentError(absl::StrCat("an RGB image of ", width, " x ", height, " pixels needs ",
                                                   height * width * 3, " bytes, got ", image.rgb.size()));
  }
  const int64_t factor = options.patch_size * options.spatial_merge_size;
  if (factor < 1 || target.height < 1 || target.width < 1 || target.height % factor != 0 ||
      target.width % factor != 0) {
    return absl::InvalidArgumentError(absl::StrCat("the target size must be multiples of ", factor, ", got height ",
                                                   target.height, " and width ", target.width));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Frames> ResizeToFrames(RgbImage image, ImageSize target, const ImageOptions& options) {
  if (absl::Status status = CheckRequest(image, target, options); !status.ok()) return status;
  Frames frames;
  frames.frame_count = 1;
  frames.height = target.height;
  frames.width = target.width;
  frames.grid = {.t = 1, .h = target.height / options.patch_size, .w = target.width / options.patch_size};
  if (image.size == target) {
    frames.rgb = std::move(image.rgb);
    return frames;
  }
  try {
    std::vector<uint8_t> rgb(static_cast<size_t>(target.height * target.width * 3));
    ResampleBicubic(image.rgb, image.size, absl::MakeSpan(rgb), target);
    frames.rgb = std::move(rgb);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("not enough memory to resize to ", target.width, " x ", target.height, " pixels"));
  }
  return frames;
}

}  // namespace vitower
