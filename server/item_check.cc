#include "server/item_check.h"

#include <algorithm>
#include <optional>

#include "server/reply.h"
#include "server/source_check.h"
#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

// Of a result, for each temporal slice of a clip: its timestamp and the indices of its frames.
constexpr int64_t kSliceFactsBytes = 32;

absl::Status CheckId(const v1::Item& item) {
  const auto bytes = static_cast<int64_t>(item.id().size());
  if (bytes <= kMaxIdBytes) return absl::OkStatus();
  return BadInput("the field id has ", bytes, " bytes, above the limit of ", kMaxIdBytes);
}

absl::StatusOr<DType> OutputDType(int wanted, DType model_dtype) {
  if (const std::optional<DType> known = FromProto(wanted)) return *known;
  if (wanted == v1::DTYPE_UNSPECIFIED) return model_dtype;
  return BadInput("outputs.dtype has the unknown value ", wanted);
}

absl::StatusOr<Priority> PriorityOf(int wanted) {
  switch (wanted) {
    case v1::PRIORITY_HIGH:
      return Priority::kHigh;
    case v1::PRIORITY_UNSPECIFIED:
    case v1::PRIORITY_NORMAL:
      return Priority::kNormal;
    case v1::PRIORITY_LOW:
      return Priority::kLow;
    default:
      return BadInput("priority has the unknown value ", wanted);
  }
}

absl::Status LevelError(uint32_t level, size_t levels) {
  if (levels == 0) return BadInput("outputs.deepstack_levels has ", level, "; the model has no DeepStack levels");
  return BadInput("outputs.deepstack_levels has ", level, "; the model has levels 0 to ", levels - 1);
}

absl::Status SetVectors(const v1::Outputs& wanted, ItemPlan& plan) {
  plan.pooled = wanted.pooled();
  plan.pooled_slices = wanted.pooled_slices();
  plan.l2_normalize = wanted.l2_normalize();
  if (!plan.l2_normalize || plan.pooled || plan.pooled_slices) return absl::OkStatus();
  return BadInput(
      "outputs.l2_normalize is set without outputs.pooled or outputs.pooled_slices: tokens are never scaled");
}

absl::Status SetOutputs(const v1::Outputs& wanted, const EncoderInfo& info, ItemPlan& plan) {
  if (absl::Status set = SetVectors(wanted, plan); !set.ok()) return set;
  const size_t levels = info.tower.deepstack_visual_indexes.size();
  const bool vectors = plan.pooled || plan.pooled_slices;
  const bool none_named = !wanted.tokens() && !vectors && wanted.deepstack_levels().empty();
  plan.outputs.tokens = wanted.tokens() || none_named;
  plan.outputs.deepstack.assign(levels, none_named);
  for (const uint32_t level : wanted.deepstack_levels()) {
    if (level >= levels) return LevelError(level, levels);
    plan.outputs.deepstack[level] = true;
  }
  absl::StatusOr<DType> dtype = OutputDType(wanted.dtype(), info.dtype);
  if (!dtype.ok()) return dtype.status();
  plan.dtype = *dtype;
  return absl::OkStatus();
}

}  // namespace

std::string_view ItemKind(const v1::Item& item) {
  switch (item.source_case()) {
    case v1::Item::kImage:
      return "image";
    case v1::Item::kVideo:
      return "video";
    case v1::Item::kFrames:
      return "frames";
    case v1::Item::kRgb:
      return "rgb";
    case v1::Item::kPatches:
      return "patches";
    default:
      return "none";
  }
}

int64_t FixedReplyBytes(const v1::Item& item) { return kResultOverheadBytes + static_cast<int64_t>(item.id().size()); }

int64_t OutputBytes(const ItemPlan& plan, const EncoderInfo& info) {
  const int64_t row_bytes = info.tower.out_hidden_size * ByteSize(plan.dtype);
  const int64_t matrices =
      plan.outputs.tokens + std::count(plan.outputs.deepstack.begin(), plan.outputs.deepstack.end(), true);
  const int64_t rows = matrices * (plan.grid.patches() / info.tower.merge_unit()) + (plan.pooled ? 1 : 0) +
                       (plan.pooled_slices ? plan.grid.t : 0);
  return rows * row_bytes + (IsClip(plan) ? kSliceFactsBytes * plan.grid.t : 0);
}

absl::StatusOr<ItemPlan> CheckItem(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits) {
  if (absl::Status id = CheckId(item); !id.ok()) return id;
  ItemPlan plan;
  absl::StatusOr<Priority> priority = PriorityOf(item.priority());
  if (!priority.ok()) return priority.status();
  plan.priority = *priority;
  if (absl::Status set = SetOutputs(item.outputs(), info, plan); !set.ok()) return set;
  if (absl::Status set = PlanSource(item, info, limits, plan); !set.ok()) return set;
  plan.reply_bytes = FixedReplyBytes(item) + OutputBytes(plan, info);
  return plan;
}

}  // namespace vitower
