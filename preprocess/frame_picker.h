#pragma once

// private header
#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "preprocess/packet_index.h"
#include "preprocess/video_decoder.h"

namespace vitower {

// Takes a decoded frame. An error ends the decoding.
using FrameSink = std::function<absl::Status(const AVFrame& frame)>;

// Decodes a clip of which some frames are wanted: ranks in the order of showing, ascending, none twice. `reader` is at
// its beginning, `index` the scan of the same bytes.
//
// PickByTime knows the frames by their times, so it leaves out what no wanted frame needs: packets up to the last key
// packet before the next wanted frame, disposable pictures, and all that follows the last. NOT_FOUND where a wanted
// frame does not come out. REQUIRES: index.timed.
absl::Status PickByTime(VideoReader& reader, VideoDecoder& decoder, const PacketIndex& index,
                        absl::Span<const int64_t> wanted, const FrameSink& sink);

// PickByCount decodes everything from the beginning on and counts. Where `total` is the number of frames of the clip as
// far as anybody knows, the answer is how many there really are if the last of them was wanted, else `total`.
absl::StatusOr<int64_t> PickByCount(VideoReader& reader, VideoDecoder& decoder, absl::Span<const int64_t> wanted,
                                    int64_t total, const FrameSink& sink);

}  // namespace vitower
