#include "preprocess/orient.h"

#include <algorithm>
#include <cstring>

namespace vitower {
namespace {

// Where the pixel (y, x) of the upright picture lies in the stored one, in pixels: origin + y * down + x * right.
struct Walk {
  int64_t origin;
  int64_t down;
  int64_t right;
};

Walk WalkOf(int orientation, ImageSize stored) {
  const auto [h, w] = stored;
  switch (orientation) {
    case 2:
      return {w - 1, w, -1};
    case 3:
      return {h * w - 1, -w, -1};
    case 4:
      return {(h - 1) * w, -w, 1};
    case 5:
      return {0, 1, w};
    case 6:
      return {(h - 1) * w, 1, -w};
    case 7:
      return {h * w - 1, -1, -w};
    case 8:
      return {w - 1, -1, w};
    default:
      return {0, w, 1};
  }
}

}  // namespace

ImageSize Upright(ImageSize stored, int orientation) {
  return orientation >= 5 ? ImageSize{.height = stored.width, .width = stored.height} : stored;
}

ImageSize SizeAsShown(const ImageHeader& header, bool apply_exif) {
  return apply_exif ? Upright(header.size, header.exif_orientation) : header.size;
}

void OrientInto(absl::Span<const uint8_t> stored, ImageSize size, int orientation, uint8_t* upright) {
  const Walk walk = WalkOf(orientation, size);
  const auto [height, width] = Upright(size, orientation);
  constexpr int64_t kTile = 32;  // px; a transposed tile's lines stay in cache
  for (int64_t top = 0; top < height; top += kTile) {
    for (int64_t left = 0; left < width; left += kTile) {
      for (int64_t y = top; y < std::min(top + kTile, height); ++y) {
        for (int64_t x = left; x < std::min(left + kTile, width); ++x) {
          std::memcpy(&upright[3 * (y * width + x)], &stored[3 * (walk.origin + y * walk.down + x * walk.right)], 3);
        }
      }
    }
  }
}

RgbImage Orient(RgbImage image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  RgbImage upright{.size = Upright(image.size, orientation), .rgb = std::vector<uint8_t>(image.rgb.size())};
  OrientInto(image.rgb, image.size, orientation, upright.rgb.data());
  return upright;
}

}  // namespace vitower
