// private header
#pragma once

#include "absl/status/status.h"
#include "model/encoder.h"
#include "server/plan.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {

// The sources that are clips: encoded, as encoded images, as pixels. Each checks what PlanSource promises and sets
// plan.source, grid, decode_bytes and clip_bytes. FAILED_PRECONDITION where the model takes no clips.
// REQUIRES: the item has that source; PlanRgbClip: rgb.data fits rgb's sides and frames, and these the limits of an
// image.
absl::Status PlanVideo(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan);
absl::Status PlanFrameList(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan);
absl::Status PlanRgbClip(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan);

}  // namespace vitower
