#pragma once

#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "preprocess/byte_view.h"
#include "preprocess/image.h"

namespace vitower {

// One parser a format, called once the magic bytes are known. Each reads headers and steps over everything else by its
// length, so its time is linear in the number of segments; whether the size is acceptable is ProbeImage's business.
absl::StatusOr<ImageHeader> ReadJpegHeader(ByteView file);
absl::StatusOr<ImageHeader> ReadPngHeader(ByteView file);
absl::StatusOr<ImageHeader> ReadWebpHeader(ByteView file);
absl::StatusOr<ImageHeader> ReadBmpHeader(ByteView file);
absl::StatusOr<ImageHeader> ReadGifHeader(ByteView file);

// Whether the file goes on to the end that its own lengths announce. OpenCV would find out too, but writes to stderr
// then.
bool PngIsWhole(ByteView file);
bool WebpIsWhole(ByteView file);
bool BmpIsWhole(ByteView file);

// Transparency that OpenCV misreads or does not see. The file must have passed its parser above.
bool BmpHasAlpha(ByteView file);
std::optional<uint16_t> PngTransparentGray(
    ByteView file);  // the gray sample, at the file's bit depth scaled to 8 or 16

// INVALID_ARGUMENT: "JPEG " and `what`.
absl::Status InvalidImage(ImageFormat format, std::string_view what);
absl::Status TruncatedHeader(ImageFormat format, ByteView file);

}  // namespace vitower
