#pragma once

#include "preprocess/image.h"

namespace vitower {

// The picture as EXIF `orientation` (1 to 8) says it is to be seen; 1 is returned untouched. May throw std::bad_alloc.
RgbImage Orient(RgbImage image, int orientation);

}  // namespace vitower
