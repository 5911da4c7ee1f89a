#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "preprocess/headers.h"

namespace vitower {
namespace {

constexpr size_t kInfoHeader = 14;
constexpr uint32_t kCoreHeaderBytes = 12;
constexpr uint32_t kBitfields = 3;
constexpr uint32_t kAlphaBitfields = 6;

bool HasCoreHeader(ByteView file) { return file.U32(kInfoHeader, Endian::kLittle) == kCoreHeaderBytes; }
uint32_t BitsPerPixel(ByteView file) { return file.U16(HasCoreHeader(file) ? 24 : 28, Endian::kLittle); }
uint32_t Compression(ByteView file) { return HasCoreHeader(file) ? 0 : file.U32(kInfoHeader + 16, Endian::kLittle); }
uint32_t ChannelMask(ByteView file, size_t channel) {
  return file.U32(kInfoHeader + 40 + 4 * channel, Endian::kLittle);
}

// OpenCV reads the usual layouts exactly, but leaves the low bits of 16-bit pixels empty and does not look at unusual
// channel masks: those would come out in other colours than the reference's.
absl::Status CheckLayout(ByteView file) {
  if (BitsPerPixel(file) == 16)
    return InvalidImage(ImageFormat::kBmp, "has 16 bits a pixel; supported are 1, 4, 8, 24 and 32");
  if (Compression(file) != kBitfields && Compression(file) != kAlphaBitfields) return absl::OkStatus();
  if (ChannelMask(file, 0) != 0xFF0000 || ChannelMask(file, 1) != 0xFF00 || ChannelMask(file, 2) != 0xFF) {
    return InvalidImage(ImageFormat::kBmp, "has channel masks other than those of BGR");
  }
  return absl::OkStatus();
}

}  // namespace

bool BmpIsWhole(ByteView file) {
  const bool is_run_length = Compression(file) == 1 || Compression(file) == 2;
  const absl::StatusOr<ImageHeader> header = ReadBmpHeader(file);
  if (is_run_length || !header.ok()) return header.ok();
  const uint64_t stride_bytes = (static_cast<uint64_t>(header->size.width) * BitsPerPixel(file) + 31) / 32 * 4;
  return file.Has(file.U32(10, Endian::kLittle), stride_bytes * static_cast<uint64_t>(header->size.height));
}

bool BmpHasAlpha(ByteView file) {
  constexpr uint32_t kHeaderWithAlphaMask = 56;
  const bool has_mask =
      file.U32(kInfoHeader, Endian::kLittle) >= kHeaderWithAlphaMask && Compression(file) == kBitfields;
  return (has_mask || Compression(file) == kAlphaBitfields) && ChannelMask(file, 3) != 0;
}

absl::StatusOr<ImageHeader> ReadBmpHeader(ByteView file) {
  constexpr uint32_t kInfoHeaderBytes = 40;
  if (!file.Has(0, kInfoHeader + kCoreHeaderBytes)) return TruncatedHeader(ImageFormat::kBmp, file);
  const uint32_t header_bytes = file.U32(kInfoHeader, Endian::kLittle);
  if (HasCoreHeader(file)) {
    if (absl::Status status = CheckLayout(file); !status.ok()) return status;
    const ImageSize size = {.height = file.U16(20, Endian::kLittle), .width = file.U16(18, Endian::kLittle)};
    return ImageHeader{.format = ImageFormat::kBmp, .size = size};
  }
  if (header_bytes < kInfoHeaderBytes) {
    return InvalidImage(ImageFormat::kBmp, absl::StrCat("has an info header of ", header_bytes, " bytes"));
  }
  if (!file.Has(kInfoHeader, kInfoHeaderBytes)) return TruncatedHeader(ImageFormat::kBmp, file);
  if (absl::Status status = CheckLayout(file); !status.ok()) return status;
  // A negative height says that the rows go from top to bottom.
  const int64_t height = static_cast<int32_t>(file.U32(22, Endian::kLittle));
  const int64_t width = static_cast<int32_t>(file.U32(18, Endian::kLittle));
  return ImageHeader{.format = ImageFormat::kBmp, .size = {.height = std::abs(height), .width = width}};
}

}  // namespace vitower
