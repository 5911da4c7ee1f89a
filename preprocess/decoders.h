#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "preprocess/image.h"

namespace vitower {

using Background = std::optional<std::array<uint8_t, 3>>;

// Each decodes the picture as stored (no EXIF) to RGB and refuses data whose size is not the header's.
// They may throw std::bad_alloc; everything else is a status.
absl::StatusOr<RgbImage> DecodeJpeg(absl::Span<const uint8_t> bytes, const ImageHeader& header);
absl::StatusOr<RgbImage> DecodeGif(absl::Span<const uint8_t> bytes, const ImageHeader& header, Background background);
absl::StatusOr<RgbImage> DecodeWebp(absl::Span<const uint8_t> bytes, const ImageHeader& header, Background background);
// PNG and BMP, whose first bytes decide which of OpenCV's readers takes them.
absl::StatusOr<RgbImage> DecodeWithOpenCv(absl::Span<const uint8_t> bytes, const ImageHeader& header,
                                          Background background);

// INVALID_ARGUMENT that names the format.
absl::Status CannotDecode(const ImageHeader& header, std::string_view why);
absl::Status WrongSize(const ImageHeader& header, ImageSize decoded);

RgbImage BlankImage(ImageSize size);

inline uint8_t Blend(uint8_t color, uint8_t behind, uint8_t alpha) {
  return static_cast<uint8_t>((color * alpha + behind * (255 - alpha) + 127) / 255);
}

}  // namespace vitower
