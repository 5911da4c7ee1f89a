#include "absl/strings/str_cat.h"
#include "preprocess/exif.h"
#include "preprocess/headers.h"

namespace vitower {
namespace {

constexpr size_t kSignatureBytes = 8;
constexpr size_t kChunkOverheadBytes = 12;  // length, type, CRC

// The text of an uncompressed iTXt chunk with the keyword under which XMP is kept.
std::optional<ByteView> XmpText(ByteView itxt) {
  constexpr std::string_view kUncompressedXmp("XML:com.adobe.xmp\0\0\0", 20);
  if (!itxt.StartsWith(kUncompressedXmp)) return std::nullopt;
  return itxt.From(kUncompressedXmp.size());
}

struct Chunk {
  ByteView type;
  ByteView data;
};

// Calls visit(chunk) for each whole chunk up to IEND; false where the file ends before that.
template <typename Visit>
bool ForEachChunk(ByteView file, Visit visit) {
  for (size_t offset = kSignatureBytes; file.Has(offset, kChunkOverheadBytes);) {
    const size_t length = file.U32(offset, Endian::kBig);
    const Chunk chunk = {.type = file.Part(offset + 4, 4), .data = file.Part(offset + 8, length)};
    if (chunk.type.StartsWith("IEND")) return true;
    if (chunk.data.size() < length) return false;
    visit(chunk);
    offset += kChunkOverheadBytes + length;
  }
  return false;
}

// Metadata may follow the picture too, and the reference reads it there.
OrientationSources FindMetadata(ByteView file) {
  OrientationSources sources;
  ForEachChunk(file, [&](const Chunk& chunk) {
    if (chunk.type.StartsWith("eXIf")) sources.exif = chunk.data;
    if (chunk.type.StartsWith("iTXt") && !sources.xmp) sources.xmp = XmpText(chunk.data);
  });
  return sources;
}

}  // namespace

bool PngIsWhole(ByteView file) {
  return ForEachChunk(file, [](const Chunk&) {});
}

std::optional<uint16_t> PngTransparentGray(ByteView file) {
  constexpr size_t kBitDepth = 24;
  constexpr size_t kColorType = 25;
  if (file.U8(kColorType) != 0) return std::nullopt;
  std::optional<uint16_t> gray;
  ForEachChunk(file, [&](const Chunk& chunk) {
    if (!chunk.type.StartsWith("tRNS") || chunk.data.size() != 2 || gray) return;
    const uint32_t bits = file.U8(kBitDepth);
    const uint32_t sample = chunk.data.U16(0, Endian::kBig);
    gray = static_cast<uint16_t>(bits < 8 ? sample * 255 / ((1U << bits) - 1) : sample);
  });
  return gray;
}

absl::StatusOr<ImageHeader> ReadPngHeader(ByteView file) {
  constexpr size_t kEndOfIhdr = kSignatureBytes + kChunkOverheadBytes + 13;
  if (!file.Has(0, kEndOfIhdr)) return TruncatedHeader(ImageFormat::kPng, file);
  if (file.U32(8, Endian::kBig) != 13 || !file.From(12).StartsWith("IHDR")) {
    return InvalidImage(ImageFormat::kPng, "does not begin with an IHDR chunk");
  }
  if (const uint32_t bits = file.U8(24); bits != 1 && bits != 2 && bits != 4 && bits != 8 && bits != 16) {
    return InvalidImage(ImageFormat::kPng, absl::StrCat("has ", bits, " bits a sample, expected 1, 2, 4, 8 or 16"));
  }
  const ImageSize size = {.height = file.U32(20, Endian::kBig), .width = file.U32(16, Endian::kBig)};
  return ImageHeader{.format = ImageFormat::kPng, .size = size, .exif_orientation = Orientation(FindMetadata(file))};
}

}  // namespace vitower
