#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "preprocess/decoders.h"
#include "preprocess/orient.h"

namespace vitower {
namespace {

absl::StatusOr<RgbImage> DecodeStored(absl::Span<const uint8_t> bytes, const ImageHeader& header,
                                      const Background& background) {
  switch (header.format) {
    case ImageFormat::kJpeg:
      return DecodeJpeg(bytes, header);
    case ImageFormat::kGif:
      return DecodeGif(bytes, header, background);
    case ImageFormat::kWebp:
      return DecodeWebp(bytes, header, background);
    case ImageFormat::kPng:
    case ImageFormat::kBmp:
      return DecodeWithOpenCv(bytes, header, background);
  }
  return absl::InternalError("image format without a decoder");
}

// Bytes a pixel that a decoder takes besides the result: a picture of its own, and what the codecs below it hold.
int64_t DecoderBytesPerPixel(ImageFormat format, bool with_alpha) {
  switch (format) {
    case ImageFormat::kPng:
      return with_alpha ? 8 : 3;  // four samples of 16 bits
    case ImageFormat::kWebp:
      return with_alpha ? 9 : 5;  // ARGB of a lossless file or of its alpha plane, that plane, and RGBA to be blended
    case ImageFormat::kBmp:
      return 4;
    case ImageFormat::kJpeg:
    case ImageFormat::kGif:
      return 0;
  }
  return 0;
}

}  // namespace

int64_t DecodeBytes(const ImageHeader& header, const ImageOptions& options) {
  const int64_t pixels = header.size.height * header.size.width;
  const int64_t result = 3 * pixels;
  const int64_t decoder =
      header.coefficient_bytes + DecoderBytesPerPixel(header.format, options.background.has_value()) * pixels;
  const int64_t turned = options.apply_exif && header.exif_orientation > 1 ? result : 0;
  return result + std::max(decoder, turned);
}

absl::Status CannotDecode(const ImageHeader& header, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("cannot decode ", std::string(Name(header.format)), ": ", std::string(why)));
}

absl::Status WrongSize(const ImageHeader& header, ImageSize decoded) {
  return CannotDecode(header, absl::StrCat("the header says ", header.size.width, " x ", header.size.height,
                                           " pixels, the data ", decoded.width, " x ", decoded.height));
}

RgbImage BlankImage(ImageSize size) {
  return {.size = size, .rgb = std::vector<uint8_t>(static_cast<size_t>(size.height * size.width * 3))};
}

absl::StatusOr<RgbImage> DecodeImage(absl::Span<const uint8_t> bytes, const ImageHeader& header,
                                     const ImageOptions& options) {
  try {
    absl::StatusOr<RgbImage> image = DecodeStored(bytes, header, options.background);
    if (!image.ok() || !options.apply_exif) return image;
    return Orient(*std::move(image), header.exif_orientation);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("not enough memory to decode an image of ", header.size.width,
                                                     " x ", header.size.height, " pixels"));
  }
}

}  // namespace vitower
