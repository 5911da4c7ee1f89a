#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "preprocess/image.h"

namespace vitower {

// Orientations are EXIF's, 1 to 8.

// The size of a picture that is stored so.
ImageSize Upright(ImageSize stored, int orientation);

// The picture as `orientation` says it is to be seen. REQUIRES: `upright` has room for as many bytes as `stored`, which
// are size.height * size.width * 3; they do not overlap; orientation in [1, 8].
void OrientInto(absl::Span<const uint8_t> stored, ImageSize size, int orientation, uint8_t* upright);

// The same; any other orientation, and 1, is returned untouched. May throw std::bad_alloc.
RgbImage Orient(RgbImage image, int orientation);

}  // namespace vitower
