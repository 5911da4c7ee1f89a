#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "preprocess/headers.h"

namespace vitower {
namespace {

using std::string_view_literals::operator""sv;

std::optional<ImageFormat> FormatOf(ByteView file) {
  if (file.StartsWith("\xFF\xD8\xFF")) return ImageFormat::kJpeg;
  if (file.StartsWith("\x89PNG\r\n\x1A\n")) return ImageFormat::kPng;
  if (file.StartsWith("RIFF") && file.From(8).StartsWith("WEBP")) return ImageFormat::kWebp;
  if (file.StartsWith("GIF87a") || file.StartsWith("GIF89a")) return ImageFormat::kGif;
  if (file.StartsWith("BM")) return ImageFormat::kBmp;
  return std::nullopt;
}

// The names of formats that users send although no decoder here takes them.
std::string_view NameOfUnsupported(ByteView file) {
  if (file.StartsWith("II*\0"sv) || file.StartsWith("MM\0*"sv)) return "TIFF";
  if (!file.From(4).StartsWith("ftyp")) return "unknown";
  const ByteView brand = file.From(8);
  for (const std::string_view heif : {"heic", "heix", "heim", "heis", "mif1", "msf1"}) {
    if (brand.StartsWith(heif)) return "HEIF";
  }
  return brand.StartsWith("avif") || brand.StartsWith("avis") ? "AVIF" : "unknown";
}

absl::Status UnknownFormat(ByteView file) {
  if (file.size() == 0) return absl::InvalidArgumentError("image is empty: 0 bytes");
  return absl::InvalidArgumentError(absl::StrCat(
      std::string(NameOfUnsupported(file)), " image format, it begins with the bytes \"",
      absl::CHexEscape(std::string(file.Part(0, 12).Text())), "\"; accepted are JPEG, PNG, WebP, BMP and GIF"));
}

absl::StatusOr<ImageHeader> ReadHeader(ImageFormat format, ByteView file) {
  switch (format) {
    case ImageFormat::kJpeg:
      return ReadJpegHeader(file);
    case ImageFormat::kPng:
      return ReadPngHeader(file);
    case ImageFormat::kWebp:
      return ReadWebpHeader(file);
    case ImageFormat::kBmp:
      return ReadBmpHeader(file);
    case ImageFormat::kGif:
      return ReadGifHeader(file);
  }
  return absl::InternalError("image format without a parser");
}

absl::Status CheckSize(const ImageHeader& header, int64_t max_image_pixels) {
  constexpr int64_t kMaxSide = std::numeric_limits<int32_t>::max();
  const auto [height, width] = header.size;
  if (height <= 0 || width <= 0 || height > kMaxSide || width > kMaxSide) {
    return InvalidImage(header.format, absl::StrCat("claims a size of ", width, " x ", height, " pixels"));
  }
  if (height * width > max_image_pixels) {
    return absl::InvalidArgumentError(absl::StrCat("image claims ", width, " x ", height, " = ", height * width,
                                                   " pixels, the limit (--max-image-pixels) is ", max_image_pixels));
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view Name(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "JPEG";
    case ImageFormat::kPng:
      return "PNG";
    case ImageFormat::kWebp:
      return "WebP";
    case ImageFormat::kBmp:
      return "BMP";
    case ImageFormat::kGif:
      return "GIF";
  }
  return "unknown";
}

absl::Status InvalidImage(ImageFormat format, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(Name(format)), " ", std::string(what)));
}

absl::Status TruncatedHeader(ImageFormat format, ByteView file) {
  return InvalidImage(format, absl::StrCat("header is truncated: the file ends after ", file.size(), " bytes"));
}

absl::StatusOr<ImageHeader> ProbeImage(absl::Span<const uint8_t> bytes, int64_t max_image_pixels) {
  const ByteView file(bytes);
  const std::optional<ImageFormat> format = FormatOf(file);
  if (!format) return UnknownFormat(file);
  absl::StatusOr<ImageHeader> header = ReadHeader(*format, file);
  if (!header.ok()) return header;
  if (absl::Status status = CheckSize(*header, max_image_pixels); !status.ok()) return status;
  return header;
}

}  // namespace vitower
