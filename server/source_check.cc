#include "server/source_check.h"

#include <algorithm>
#include <optional>
#include <string>

#include "server/clip_check.h"
#include "server/item_check.h"
#include "server/preprocessing_check.h"
#include "server/reply.h"
#include "server/status.h"
#include "server/text.h"

namespace vitower {

absl::Status CheckGridSides(std::string_view what, const GridThw& grid) {
  for (const int64_t side : {grid.t, grid.h, grid.w}) {
    if (side > kMaxGridSide) {
      return BadInput(std::string(what), " makes a grid of ", grid.t, " x ", grid.h, " x ", grid.w,
                      " patches; the largest side is ", kMaxGridSide);
    }
  }
  return absl::OkStatus();
}

namespace {

absl::Status SetImageGrid(ImageSize size, ImageSize target, const EncoderInfo& info, const ItemLimits& limits,
                          ItemPlan& plan) {
  const int64_t patch = info.tower.patch_size;
  plan.grid = GridThw{1, target.height / patch, target.width / patch};
  if (plan.grid.patches() <= limits.max_item_patches) return CheckGridSides("the image", plan.grid);
  return BadInput("the image of ", size.width, " x ", size.height, " pixels becomes ", target.width, " x ",
                  target.height, " = ", plan.grid.patches(), " patches, above the limit of ", limits.max_item_patches,
                  " (--max-item-patches)");
}

absl::Status PlanImage(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan) {
  if (item.image().empty()) return BadInput("the field image is empty");
  if (absl::Status checked = CheckOverrides(item.preprocessing(), {.size = true, .encoding = true}, "image");
      !checked.ok())
    return checked;
  absl::StatusOr<ImageOptions> options = ImageOptionsOf(item.preprocessing(), info);
  if (!options.ok()) return options.status();
  absl::StatusOr<ImageHeader> header = ProbeImage(BytesOf(item.image()), limits.max_image_pixels);
  if (!header.ok()) return header.status();
  absl::StatusOr<ImageSize> target = TargetSize(*header, *options);
  if (!target.ok()) return target.status();
  plan.decode_bytes = DecodeBytes(*header, *options);
  plan.source = ImagePlan{*header, *options, *target};
  return SetImageGrid(header->size, *target, info, limits, plan);
}

absl::Status PlanRgbImage(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan) {
  if (absl::Status checked = CheckOverrides(item.preprocessing(), {.size = true, .encoding = false}, "rgb");
      !checked.ok())
    return checked;
  if (item.rgb().has_fps()) return BadInput("rgb.fps is set, and rgb.frames is 0: an image has no rate");
  if (item.rgb().has_sampling()) return BadInput("rgb.sampling is set, and rgb.frames is 0: an image is not sampled");
  absl::StatusOr<ImageOptions> options = ImageOptionsOf(item.preprocessing(), info);
  if (!options.ok()) return options.status();
  ImageHeader header;
  header.size = {item.rgb().height(), item.rgb().width()};
  absl::StatusOr<ImageSize> target = TargetSize(header, *options);
  if (!target.ok()) return target.status();
  plan.source = RgbImagePlan{header.size, *target};
  return SetImageGrid(header.size, *target, info, limits, plan);
}

absl::Status PlanRgb(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan) {
  const v1::RawRgb& rgb = item.rgb();
  const ImageSize size{rgb.height(), rgb.width()};
  if (size.height < 1 || size.width < 1) {
    return BadInput("rgb.width x rgb.height is ", size.width, " x ", size.height, "; both must be at least 1");
  }
  if (size.height > limits.max_image_pixels / size.width) {
    return BadInput("rgb.width x rgb.height is ", size.width, " x ", size.height, " pixels, above the limit of ",
                    limits.max_image_pixels, " (--max-image-pixels)");
  }
  const int64_t pictures = std::max<int64_t>(rgb.frames(), 1);
  const auto bytes = static_cast<int64_t>(rgb.data().size());
  const int64_t picture_bytes = 3 * size.height * size.width;
  if (bytes % picture_bytes != 0 || bytes / picture_bytes != pictures) {
    return BadInput("rgb.data has ", bytes, " bytes instead of 3 for each of ", pictures, " x ", size.height, " x ",
                    size.width, " pixels (frames x height x width)");
  }
  return rgb.frames() == 0 ? PlanRgbImage(item, info, limits, plan) : PlanRgbClip(item, info, limits, plan);
}

absl::Status CheckPatchGrid(const v1::GridThw& grid, const EncoderInfo& info, int64_t max_patches) {
  const int64_t merge = info.tower.spatial_merge_size;
  const auto text = [&] { return Cat("patches.grid_thw is ", grid.t(), " x ", grid.h(), " x ", grid.w()); };
  if (grid.t() < 1 || grid.h() < 1 || grid.w() < 1) return BadInput(text(), "; all three must be at least 1");
  if (grid.h() % merge != 0 || grid.w() % merge != 0) {
    return BadInput(text(), "; h and w must be multiples of ", merge, " (spatial_merge_size)");
  }
  if (grid.h() <= max_patches / grid.w() && grid.t() <= max_patches / grid.h() / grid.w()) {
    return CheckGridSides("patches.grid_thw", {grid.t(), grid.h(), grid.w()});
  }
  return BadInput(text(), " patches, above the limit of ", max_patches, " (--max-item-patches)");
}

absl::StatusOr<DType> PatchDType(int dtype) {
  if (const std::optional<DType> known = FromProto(dtype)) return *known;
  if (dtype == v1::DTYPE_UNSPECIFIED) return BadInput("patches.dtype is not set: say what patches.data holds");
  return BadInput("patches.dtype has the unknown value ", dtype);
}

absl::Status PlanPatches(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan) {
  if (absl::Status checked = CheckOverrides(item.preprocessing(), {}, "patches"); !checked.ok()) return checked;
  const v1::PatchRows& patches = item.patches();
  const v1::GridThw& grid = patches.grid_thw();
  absl::StatusOr<DType> dtype = PatchDType(patches.dtype());
  if (!dtype.ok()) return dtype.status();
  if (absl::Status checked = CheckPatchGrid(grid, info, limits.max_item_patches); !checked.ok()) return checked;
  plan.grid = GridThw{grid.t(), grid.h(), grid.w()};
  plan.source = PatchesPlan{*dtype};
  const auto bytes = static_cast<int64_t>(patches.data().size());
  const int64_t row_bytes = info.tower.patch_dim() * ByteSize(*dtype);
  if (bytes % row_bytes == 0 && bytes / row_bytes == plan.grid.patches()) return absl::OkStatus();
  return BadInput("patches.data has ", bytes, " bytes instead of ", plan.grid.patches(), " rows of ",
                  info.tower.patch_dim(), " ", Name(*dtype), " values");
}

}  // namespace

absl::Status PlanSource(const v1::Item& item, const EncoderInfo& info, const ItemLimits& limits, ItemPlan& plan) {
  switch (item.source_case()) {
    case v1::Item::kImage:
      return PlanImage(item, info, limits, plan);
    case v1::Item::kVideo:
      return PlanVideo(item, info, limits, plan);
    case v1::Item::kFrames:
      return PlanFrameList(item, info, limits, plan);
    case v1::Item::kRgb:
      return PlanRgb(item, info, limits, plan);
    case v1::Item::kPatches:
      return PlanPatches(item, info, limits, plan);
    default:
      return BadInput("the item has no source: set one of image, video, frames, rgb and patches");
  }
}

}  // namespace vitower
