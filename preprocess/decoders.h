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
absl::StatusOr<RgbImage> DecodeWithOpenCv(absl::Span<const uint8_t> bytes, const ImageHeader& header,
                                          Background background);

// INVALID_ARGUMENT that names the format.
absl::Status CannotDecode(const ImageHeader& header, std::string_view why);
absl::Status WrongSize(const ImageHeader& header, ImageSize decoded);

RgbImage BlankImage(ImageSize size);

}  // namespace vitower
