#include <algorithm>
#include <cmath>
#include <new>
#include <string>

#include "absl/strings/str_cat.h"
#include "preprocess/orient.h"
#include "preprocess/packet_index.h"
#include "preprocess/video_header.h"

namespace vitower {
namespace {

absl::Status CheckPixels(ImageSize size, const VideoLimits& limits) {
  if (size.height * size.width <= limits.max_frame_pixels) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("video claims frames of ", size.width, " x ", size.height, " = ",
                                                 size.height * size.width, " pixels, the limit is ",
                                                 limits.max_frame_pixels));
}

// What the header does not say, by the first packets: exact where there are no more, else reckoned. All of a clip is
// demuxed only when it is decoded.
absl::Status LookAtPackets(VideoReader& reader, const VideoLimits& limits, VideoHeader& header) {
  constexpr size_t kMostBytes = size_t{1} << 20;
  constexpr size_t kMostPackets = 1000;
  reader.CutOffAfter(kMostBytes);
  const absl::StatusOr<PacketIndex> index = ScanPackets(reader, limits, kMostPackets);
  if (!index.ok()) return index.status();
  if (!header.fps && index->fps > 0) header.fps = index->fps;
  if (!index->whole && header.frame_count > 0) return absl::OkStatus();
  const double share = index->whole ? 1 : std::clamp(reader.share_read(), 1e-9, 1.0);
  header.frame_count = std::llround(static_cast<double>(index->shown.size()) / share);
  header.frame_count = std::min(header.frame_count, limits.max_frames);
  header.duration_seconds = index->duration_seconds / share;
  header.reckoned = !index->whole;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<VideoHeader> ReadHeader(const VideoReader& reader, const VideoLimits& limits) {
  VideoHeader header;
  header.container = Name(reader.container());
  header.codec = reader.codec();
  header.size = Upright(reader.stored_size(), reader.orientation());
  header.fps = reader.fps();
  header.duration_seconds = reader.duration_seconds().value_or(0);
  if (absl::Status status = CheckPixels(header.size, limits); !status.ok()) return status;
  if (header.duration_seconds > limits.max_seconds) return TooLong(header.duration_seconds, limits);
  if (const std::optional<int64_t> frames = reader.frame_count()) {
    header.frame_count = *frames;
  } else if (header.fps && header.duration_seconds > 0) {
    header.frame_count = std::llround(header.duration_seconds * *header.fps);
  }
  if (header.frame_count > limits.max_frames) return TooManyFrames(header.frame_count, limits);
  return header;
}

absl::StatusOr<VideoHeader> ProbeVideo(absl::Span<const uint8_t> bytes, const VideoLimits& limits) {
  try {
    absl::StatusOr<VideoReader> reader = VideoReader::Open(bytes);
    if (!reader.ok()) return reader.status();
    absl::StatusOr<VideoHeader> header = ReadHeader(*reader, limits);
    if (!header.ok() || (header->frame_count > 0 && header->fps)) return header;
    if (absl::Status status = LookAtPackets(*reader, limits, *header); !status.ok()) return status;
    return header;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("not enough memory to read a video's header");
  }
}

}  // namespace vitower
