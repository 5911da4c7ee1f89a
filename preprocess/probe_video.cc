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

// Counts where the header does not: demuxing only.
absl::Status CountPackets(VideoReader& reader, const VideoLimits& limits, VideoHeader& header) {
  const absl::StatusOr<PacketIndex> index = ScanPackets(reader, limits);
  if (!index.ok()) return index.status();
  header.frame_count = static_cast<int64_t>(index->shown.size());
  header.duration_seconds = index->duration_seconds;
  if (!header.fps && index->fps > 0) header.fps = index->fps;
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
    if (absl::Status status = CountPackets(*reader, limits, *header); !status.ok()) return status;
    return header;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("not enough memory to read a video's header");
  }
}

}  // namespace vitower
