#pragma once

// private header
#include "preprocess/libav.h"

namespace vitower {

// The stream's display matrix as the EXIF orientation, 1 to 8, that turns a stored frame as the matrix does. 1 without
// a matrix. Turns by other than a multiple of a right angle are taken to the nearest one.
int OrientationOf(const AVStream& stream);

}  // namespace vitower
