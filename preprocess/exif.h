#pragma once

#include <optional>

#include "preprocess/byte_view.h"

namespace vitower {

// Where an image's orientation may stand. The rules are Pillow's, which the reference's load_image follows: the tag of
// the first EXIF directory; without one, tiff:Orientation of the XMP text.
struct OrientationSources {
  std::optional<ByteView> exif;  // a TIFF structure, with or without "Exif\0\0" before it
  std::optional<ByteView> xmp;
};

// 1 to 8; 1 where there is none, or none that makes sense. Bad metadata never makes an image unreadable.
int Orientation(const OrientationSources& sources);

}  // namespace vitower
