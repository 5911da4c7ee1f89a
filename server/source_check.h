// private header
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "model/encoder.h"
#include "server/plan.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {

// Checks the item's source and the overrides of its preprocessing, reading headers only, and sets plan.source, grid,
// decode_bytes and clip_bytes. An override that means nothing to the source is refused. The grid of an encoded clip is
// what its header lets expect; where that does not say how many frames there are, as many as sampling would take of a
// long clip. Errors as of CheckItem.
absl::Status PlanSource(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan);

// INVALID_ARGUMENT where a side is above kMaxGridSide, which the encoder would refuse the whole batch for.
absl::Status CheckGridSides(std::string_view what, const GridThw& grid);

}  // namespace vitower
