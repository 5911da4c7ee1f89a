// private header
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/encoder.h"
#include "server/plan.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {

// "image", "video", "frames", "rgb", "patches" or "none": the item's source, as the metrics name it.
inline constexpr std::array<std::string_view, 6> kItemKinds = {"image", "video", "frames", "rgb", "patches", "none"};
std::string_view ItemKind(const v1::Item& item);

// What a result takes besides its outputs' values and its id: names, shapes, times. An upper estimate.
inline constexpr int64_t kResultOverheadBytes = 512;
// What a result takes before it has outputs.
int64_t FixedReplyBytes(const v1::Item& item);
// What the outputs asked for take, and what is said about a clip's frames, for plan.grid.
int64_t OutputBytes(const ItemPlan& plan, const EncoderInfo& info);

inline constexpr int64_t kMaxIdBytes = 1024;

// Checks one item, reading nothing but headers of what it holds, and says what is to be done for it. Cheap: it runs on
// the RPC thread. Fails with INVALID_ARGUMENT, or FAILED_PRECONDITION for a clip where the model takes none; the
// message names the field, the value got and the limit. Thread-safe.
absl::StatusOr<ItemPlan> CheckItem(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits);

}  // namespace vitower
