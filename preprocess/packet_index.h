#pragma once

// private header
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/statusor.h"
#include "preprocess/video_reader.h"

namespace vitower {

struct PacketEntry {
  int64_t pts = 0;
  bool key = false;
  bool shown = false;  // a frame that a player shows comes of it
};

// What a scan of all packets tells before any is decoded: how many frames there are, and which packet holds which.
struct PacketIndex {
  std::vector<PacketEntry> packets;  // in the order of decoding
  std::vector<size_t> shown;         // positions in `packets` of the shown ones, in the order they are shown where
                                     // `timed`, else in that of decoding
  bool timed = false;                // the shown packets have times, each its own
  bool may_skip = false;             // and decoding may begin at any key packet
  int reorder_depth = 0;             // frames a decoder must hold back so that they come out in order
  double fps = 0;                    // the container's where it fits, else measured; 0 where unknown
  double duration_seconds = 0;       // measured
  bool whole = true;                 // not only of the clip's beginning

  // The key packet to begin with for the frame of packet `position`: the last one that comes no later, neither in
  // decoding nor in showing. 0 where there is none or !may_skip.
  size_t KeyBefore(size_t position) const;

  // Packets that show before the first key packet does: a decoder has nothing to decode them from.
  int64_t Leading() const;
};

// REQUIRES: nothing was read from `reader` yet. Reads it to its end, or to the limits, beyond which it is refused; only
// its beginning where the reader is cut off or `most_packets` were read.
absl::StatusOr<PacketIndex> ScanPackets(VideoReader& reader, const VideoLimits& limits,
                                        size_t most_packets = std::numeric_limits<size_t>::max());

absl::Status TooManyFrames(int64_t frames, const VideoLimits& limits);
absl::Status TooLong(double seconds, const VideoLimits& limits);

}  // namespace vitower
