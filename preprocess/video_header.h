#pragma once

// private header
#include "absl/status/statusor.h"
#include "preprocess/video.h"
#include "preprocess/video_reader.h"

namespace vitower {

// What the opened container's header says. Refuses what is beyond the limits.
absl::StatusOr<VideoHeader> ReadHeader(const VideoReader& reader, const VideoLimits& limits);

}  // namespace vitower
