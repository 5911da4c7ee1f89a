// private header
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/encoder.h"
#include "preprocess/video.h"
#include "server/plan.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {

// Frames per second that can be reckoned with. `field` names the value in the message.
absl::Status CheckRate(std::string_view field, double fps);

// The model's own sampling with the overrides. `source` names the item's source in messages. REQUIRES:
// info.video_processor.
absl::StatusOr<SamplingOptions> SamplingOf(std::string_view source, const v1::Sampling& wanted, const EncoderInfo& info,
                                           const ItemLimits& limits);

}  // namespace vitower
