#include "preprocess/exif.h"

#include <algorithm>
#include <string_view>

namespace vitower {
namespace {

constexpr uint32_t kOrientationTag = 0x0112;
constexpr uint32_t kShort = 3;
constexpr uint32_t kLong = 4;
constexpr size_t kEntryBytes = 12;

std::optional<Endian> ByteOrder(ByteView tiff) {
  if (tiff.StartsWith("II")) return Endian::kLittle;
  if (tiff.StartsWith("MM")) return Endian::kBig;
  return std::nullopt;
}

ByteView WithoutExifPrefix(ByteView exif) {
  constexpr std::string_view kPrefix("Exif\0\0", 6);
  for (int i = 0; i < 2 && exif.StartsWith(kPrefix); ++i) exif = exif.From(kPrefix.size());
  return exif;
}

int EntryValue(ByteView entry, Endian endian) {
  const uint32_t type = entry.U16(2, endian);
  if (entry.U32(4, endian) != 1) return 0;
  if (type == kShort) return static_cast<int>(entry.U16(8, endian));
  return type == kLong ? static_cast<int>(std::min(entry.U32(8, endian), 9u)) : 0;
}

std::optional<int> FromExif(ByteView exif) {
  const ByteView tiff = WithoutExifPrefix(exif);
  const std::optional<Endian> endian = ByteOrder(tiff);
  if (!endian) return std::nullopt;
  const size_t directory = tiff.U32(4, *endian);
  const size_t entries = tiff.U16(directory, *endian);
  for (size_t i = 0; i < entries; ++i) {
    const size_t offset = directory + 2 + i * kEntryBytes;
    if (!tiff.Has(offset, kEntryBytes)) break;
    const ByteView entry = tiff.Part(offset, kEntryBytes);
    if (entry.U16(0, *endian) == kOrientationTag) return EntryValue(entry, *endian);
  }
  return std::nullopt;
}

std::optional<int> FromXmp(ByteView xmp) {
  constexpr std::string_view kKey = "tiff:Orientation";
  const std::string_view text = xmp.Text();
  for (size_t at = text.find(kKey); at != text.npos; at = text.find(kKey, at + kKey.size())) {
    std::string_view rest = text.substr(at + kKey.size());
    const size_t separator = rest.substr(0, 2) == "=\"" ? 2 : rest.substr(0, 1) == ">" ? 1 : 0;
    rest.remove_prefix(separator);
    if (separator > 0 && !rest.empty() && rest[0] >= '0' && rest[0] <= '9') return rest[0] - '0';
  }
  return std::nullopt;
}

}  // namespace

int Orientation(const OrientationSources& sources) {
  std::optional<int> orientation;
  if (sources.exif) orientation = FromExif(*sources.exif);
  if (!orientation && sources.xmp) orientation = FromXmp(*sources.xmp);
  return orientation && *orientation >= 1 && *orientation <= 8 ? *orientation : 1;
}

}  // namespace vitower
