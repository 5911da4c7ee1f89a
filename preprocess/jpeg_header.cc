#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "preprocess/exif.h"
#include "preprocess/headers.h"

namespace vitower {
namespace {

constexpr uint32_t kStartOfImage = 0xD8;
constexpr uint32_t kEndOfImage = 0xD9;
constexpr uint32_t kStartOfScan = 0xDA;
constexpr uint32_t kApp1 = 0xE1;

bool IsStartOfFrame(uint32_t marker) {
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

// Markers that stand alone: TEM, the restart markers, a repeated start, and the stuffed zero.
bool HasNoLength(uint32_t marker) {
  return marker <= 0x01 || (marker >= 0xD0 && marker <= 0xD7) || marker == kStartOfImage;
}

struct Segment {
  uint32_t marker = 0;
  size_t begin = 0;  // of the payload
  size_t size = 0;
  size_t next = 0;  // where to look for the next marker
};

// The next marker at or after `offset`: bytes between segments and fill bytes are stepped over, as libjpeg does.
std::optional<Segment> NextSegment(ByteView file, size_t offset) {
  for (; file.Has(offset, 2); ++offset) {
    if (file.U8(offset) != 0xFF || file.U8(offset + 1) == 0xFF) continue;
    const uint32_t marker = file.U8(offset + 1);
    const size_t payload = offset + 2;
    if (HasNoLength(marker) || marker == kEndOfImage) return Segment{marker, payload, 0, payload};
    const size_t length = file.U16(payload, Endian::kBig);
    if (length < 2) return std::nullopt;
    return Segment{marker, payload + 2, length - 2, payload + length};
  }
  return std::nullopt;
}

// A progressive file, or one whose first scan does not hold every component: libjpeg keeps all coefficients until the
// last scan, two bytes each.
int64_t CoefficientBytes(ByteView frame, const ImageHeader& header) {
  constexpr size_t kFirstComponent = 6;
  int64_t most_across = 1;
  int64_t most_down = 1;
  int64_t samples = 0;  // of all components in one unit of most_across * most_down pixels
  for (size_t i = 0; i < frame.U8(5); ++i) {
    const uint32_t sampling = frame.U8(kFirstComponent + 3 * i + 1);
    const int64_t across = sampling >> 4;
    const int64_t down = sampling & 15;
    most_across = std::max(most_across, across);
    most_down = std::max(most_down, down);
    samples += across * down;
  }
  const auto units = [](int64_t side, int64_t unit) { return (side + 8 * unit - 1) / (8 * unit); };
  constexpr int64_t kBlockBytes = 128;  // 64 coefficients
  return kBlockBytes * samples * units(header.size.height, most_down) * units(header.size.width, most_across);
}

bool IsProgressive(uint32_t marker) { return (marker & 3) == 2; }

absl::StatusOr<ImageHeader> ReadFrame(ByteView frame) {
  const uint32_t precision = frame.U8(0);
  const uint32_t components = frame.U8(5);
  if (precision != 8) {
    return InvalidImage(ImageFormat::kJpeg, absl::StrCat("has ", precision, " bits a sample, only 8 are supported"));
  }
  if (components != 1 && components != 3 && components != 4) {
    return InvalidImage(ImageFormat::kJpeg, absl::StrCat("has ", components, " components, supported are 1, 3 and 4"));
  }
  const ImageSize size = {.height = frame.U16(1, Endian::kBig), .width = frame.U16(3, Endian::kBig)};
  return ImageHeader{.format = ImageFormat::kJpeg, .size = size};
}

void NoteMetadata(ByteView payload, OrientationSources& sources) {
  constexpr std::string_view kExif("Exif\0\0", 6);
  constexpr std::string_view kXmp("http://ns.adobe.com/xap/1.0/\0", 29);
  if (payload.StartsWith(kExif) && !sources.exif) sources.exif = payload;
  if (payload.StartsWith(kXmp)) sources.xmp = payload.From(kXmp.size());
}

}  // namespace

absl::StatusOr<ImageHeader> ReadJpegHeader(ByteView file) {
  constexpr size_t kFrameBytes = 6;
  std::optional<ImageHeader> header;
  ByteView frame_segment({});
  bool several_scans = false;
  OrientationSources sources;
  size_t offset = 2;
  while (const std::optional<Segment> segment = NextSegment(file, offset)) {
    const ByteView payload = file.Part(segment->begin, segment->size);
    if (segment->marker == kStartOfScan) several_scans = several_scans || payload.U8(0) < frame_segment.U8(5);
    if (segment->marker == kStartOfScan || segment->marker == kEndOfImage) break;
    if (segment->marker == kApp1) NoteMetadata(payload, sources);
    if (IsStartOfFrame(segment->marker) && !header) {
      if (payload.size() < kFrameBytes) return TruncatedHeader(ImageFormat::kJpeg, file);
      absl::StatusOr<ImageHeader> frame = ReadFrame(payload);
      if (!frame.ok()) return frame.status();
      header = *frame;
      frame_segment = payload;
      several_scans = IsProgressive(segment->marker);
    }
    offset = segment->next;
  }
  if (!header) {
    return InvalidImage(ImageFormat::kJpeg,
                        absl::StrCat("has no start-of-frame marker in its ", file.size(), " bytes (truncated?)"));
  }
  header->exif_orientation = Orientation(sources);
  if (several_scans) header->coefficient_bytes = CoefficientBytes(frame_segment, *header);
  return *header;
}

}  // namespace vitower
