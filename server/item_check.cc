#include "server/item_check.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

// Areas above this are no image's: larger overrides mean the same, and fit the arithmetic of the size rule.
constexpr uint64_t kMaxArea = uint64_t{1} << 40;

template <typename... Parts>
absl::Status Bad(const Parts&... parts) {
  return MakeStatus(Fault::kBadInput, Cat(parts...));
}

absl::Status CheckId(const v1::Item& item) {
  const auto bytes = static_cast<int64_t>(item.id().size());
  if (bytes <= kMaxIdBytes) return absl::OkStatus();
  return Bad("the field id has ", bytes, " bytes, above the limit of ", kMaxIdBytes);
}

absl::Status CheckSource(const v1::Item& item) {
  if (item.source_case() == v1::Item::SOURCE_NOT_SET) return Bad("the item has no source: set the field image");
  if (item.source_case() != v1::Item::kImage) {
    return MakeStatus(Fault::kNotBuilt, Cat("the field ", ItemKind(item), " is not supported yet: send image"));
  }
  if (item.image().empty()) return Bad("the field image is empty");
  return absl::OkStatus();
}

absl::Status SetArea(std::string_view field, std::optional<uint64_t> value, int64_t& area) {
  if (!value) return absl::OkStatus();
  if (*value == 0) return Bad("preprocessing.", field, " is 0; it must be at least 1");
  area = static_cast<int64_t>(std::min(*value, kMaxArea));
  return absl::OkStatus();
}

absl::Status SetAreas(const v1::Preprocessing& wanted, ImageOptions& options) {
  std::optional<uint64_t> min_pixels;
  std::optional<uint64_t> max_pixels;
  if (wanted.has_min_pixels()) min_pixels = wanted.min_pixels();
  if (wanted.has_max_pixels()) max_pixels = wanted.max_pixels();
  if (absl::Status set = SetArea("min_pixels", min_pixels, options.min_pixels); !set.ok()) return set;
  if (absl::Status set = SetArea("max_pixels", max_pixels, options.max_pixels); !set.ok()) return set;
  if (options.min_pixels <= options.max_pixels) return absl::OkStatus();
  return Bad("preprocessing.min_pixels is ", options.min_pixels, min_pixels ? "" : " (the model's own)",
             ", above max_pixels, which is ", options.max_pixels, max_pixels ? "" : " (the model's own)");
}

absl::Status SetBackground(const v1::Rgb& colour, ImageOptions& options) {
  const std::pair<const char*, uint32_t> channels[] = {
      {"red", colour.red()}, {"green", colour.green()}, {"blue", colour.blue()}};
  std::array<uint8_t, 3> rgb{};
  for (size_t i = 0; i < rgb.size(); ++i) {
    const auto [name, value] = channels[i];
    if (value > 255) return Bad("preprocessing.background.", name, " is ", value, "; a channel is 0 to 255");
    rgb[i] = static_cast<uint8_t>(value);
  }
  options.background = rgb;
  return absl::OkStatus();
}

absl::StatusOr<ImageOptions> OptionsOf(const v1::Preprocessing& wanted, const EncoderInfo& info) {
  ImageOptions options;
  options.min_pixels = info.image_processor.min_pixels;
  options.max_pixels = info.image_processor.max_pixels;
  options.patch_size = info.tower.patch_size;
  options.spatial_merge_size = info.tower.spatial_merge_size;
  if (wanted.has_do_resize()) options.do_resize = wanted.do_resize();
  if (wanted.has_apply_exif()) options.apply_exif = wanted.apply_exif();
  if (absl::Status set = SetAreas(wanted, options); !set.ok()) return set;
  if (wanted.has_background()) {
    if (absl::Status set = SetBackground(wanted.background(), options); !set.ok()) return set;
  }
  return options;
}

absl::StatusOr<DType> DTypeOf(int wanted, DType model_dtype) {
  switch (wanted) {
    case v1::DTYPE_UNSPECIFIED:
      return model_dtype;
    case v1::DTYPE_BF16:
      return DType::kBf16;
    case v1::DTYPE_FP16:
      return DType::kFp16;
    case v1::DTYPE_FP32:
      return DType::kFp32;
    default:
      return Bad("outputs.dtype has the unknown value ", wanted);
  }
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
      return Bad("priority has the unknown value ", wanted);
  }
}

absl::Status LevelError(uint32_t level, size_t levels) {
  if (levels == 0) return Bad("outputs.deepstack_levels has ", level, "; the model has no DeepStack levels");
  return Bad("outputs.deepstack_levels has ", level, "; the model has levels 0 to ", levels - 1);
}

absl::Status SetOutputs(const v1::Outputs& wanted, const EncoderInfo& info, ItemPlan& plan) {
  const size_t levels = info.tower.deepstack_visual_indexes.size();
  const bool none_named = !wanted.tokens() && !wanted.pooled() && wanted.deepstack_levels().empty();
  plan.outputs.tokens = wanted.tokens() || none_named;
  plan.outputs.deepstack.assign(levels, none_named);
  plan.pooled = wanted.pooled();
  for (const uint32_t level : wanted.deepstack_levels()) {
    if (level >= levels) return LevelError(level, levels);
    plan.outputs.deepstack[level] = true;
  }
  absl::StatusOr<DType> dtype = DTypeOf(wanted.dtype(), info.dtype);
  if (!dtype.ok()) return dtype.status();
  plan.dtype = *dtype;
  return absl::OkStatus();
}

absl::Status SetGrid(const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan) {
  const int64_t patch = info.tower.patch_size;
  plan.grid = GridThw{1, plan.target.height / patch, plan.target.width / patch};
  if (plan.grid.patches() <= limits.max_item_patches) return absl::OkStatus();
  return Bad("the image of ", plan.header.size.width, " x ", plan.header.size.height, " pixels becomes ",
             plan.target.width, " x ", plan.target.height, " = ", plan.grid.patches(), " patches, above the limit of ",
             limits.max_item_patches, " (--max-item-patches)");
}

int64_t ValueBytes(const ItemPlan& plan, const EncoderInfo& info) {
  const int64_t row_bytes = info.tower.out_hidden_size * ByteSize(plan.dtype);
  const int64_t matrices =
      plan.outputs.tokens + std::count(plan.outputs.deepstack.begin(), plan.outputs.deepstack.end(), true);
  const int64_t tokens = plan.grid.patches() / info.tower.merge_unit();
  return matrices * tokens * row_bytes + (plan.pooled ? row_bytes : 0);
}

absl::Status SetImage(const std::string& bytes, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan) {
  const absl::Span<const uint8_t> span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  absl::StatusOr<ImageHeader> header = ProbeImage(span, limits.max_image_pixels);
  if (!header.ok()) return header.status();
  plan.header = *header;
  absl::StatusOr<ImageSize> target = TargetSize(plan.header, plan.image_options);
  if (!target.ok()) return target.status();
  plan.target = *target;
  return SetGrid(info, limits, plan);
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

absl::StatusOr<ItemPlan> CheckItem(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits) {
  if (absl::Status id = CheckId(item); !id.ok()) return id;
  if (absl::Status source = CheckSource(item); !source.ok()) return source;
  ItemPlan plan;
  absl::StatusOr<Priority> priority = PriorityOf(item.priority());
  if (!priority.ok()) return priority.status();
  plan.priority = *priority;
  absl::StatusOr<ImageOptions> options = OptionsOf(item.preprocessing(), info);
  if (!options.ok()) return options.status();
  plan.image_options = *options;
  if (absl::Status set = SetOutputs(item.outputs(), info, plan); !set.ok()) return set;
  if (absl::Status set = SetImage(item.image(), info, limits, plan); !set.ok()) return set;
  plan.reply_bytes = FixedReplyBytes(item) + ValueBytes(plan, info);
  return plan;
}

}  // namespace vitower
