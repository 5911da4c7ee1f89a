// private header
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/encoder.h"
#include "preprocess/image.h"
#include "preprocess/video.h"
#include "server/plan.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {

// Which overrides mean something to a source.
struct OverrideKinds {
  bool size = false;      // min_pixels, max_pixels, do_resize
  bool encoding = false;  // apply_exif, background
};

// Refuses what is set and means nothing: a client shall not believe that it had an effect.
absl::Status CheckOverrides(const v1::Preprocessing& wanted, OverrideKinds kinds, std::string_view source);

// The model's own options with the overrides. Bounds on pixels are areas here.
absl::StatusOr<ImageOptions> ImageOptionsOf(const v1::Preprocessing& wanted, const EncoderInfo& info);
// Those of an encoded image that is not resized by itself.
absl::StatusOr<ImageOptions> DecodeOptionsOf(const v1::Preprocessing& wanted);
// Bounds on pixels are volumes here. REQUIRES: info.video_processor.
absl::StatusOr<ClipOptions> ClipOptionsOf(const v1::Preprocessing& wanted, const EncoderInfo& info,
                                          const ItemLimits& limits);

}  // namespace vitower
