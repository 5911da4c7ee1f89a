#include "cli/remote_item.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/media_kind.h"

namespace vitower {
namespace {

std::string SafetensorsDType(WireDType dtype) {
  return dtype == WireDType::kFp32 ? "F32" : dtype == WireDType::kFp16 ? "F16" : "BF16";
}

WireDType ToWire(const std::optional<DType>& dtype) {
  if (!dtype) return WireDType::kUnspecified;
  return *dtype == DType::kFp32 ? WireDType::kFp32 : *dtype == DType::kFp16 ? WireDType::kFp16 : WireDType::kBf16;
}

template <class To, class From>
void Set(std::optional<To>& to, const std::optional<From>& from) {
  if (from) to = static_cast<To>(*from);
}

}  // namespace

ClipSampling ToClipSampling(const ClipFlags& flags) {
  ClipSampling sampling;
  sampling.fps = flags.fps;
  Set(sampling.num_frames, flags.num_frames);
  Set(sampling.min_frames, flags.min_frames);
  Set(sampling.max_frames, flags.max_frames);
  if (flags.start) sampling.start_seconds = Seconds(*flags.start);
  if (flags.end) sampling.end_seconds = Seconds(*flags.end);
  return sampling;
}

void SetOutputs(const EmbedChoices& choices, const std::vector<uint32_t>& levels, EmbedItem& item) {
  item.tokens = choices.outputs.tokens;
  item.deepstack_levels = levels;
  item.pooled = choices.outputs.pooled;
  item.pooled_slices = choices.outputs.pooled_slices;
  item.l2_normalize = choices.outputs.l2_normalize;
  item.dtype = ToWire(choices.dtype);
}

void SetImagePreprocessing(const EmbedChoices& choices, EmbedItem& item) {
  if (choices.image.no_resize) item.do_resize = false;
  Set(item.min_pixels, choices.image.min_pixels);
  Set(item.max_pixels, choices.image.max_pixels);
  if (choices.image.no_exif) item.apply_exif = false;
  item.background = choices.image.background;
}

void SetClipPreprocessing(const EmbedChoices& choices, EmbedItem& item) {
  if (choices.image.no_resize) item.do_resize = false;
  Set(item.min_pixels, choices.clip.min_pixels);
  Set(item.max_pixels, choices.clip.max_pixels);
}

EmbedItem MakeItem(const std::filesystem::path& path, std::string bytes, const EmbedChoices& choices,
                   const std::vector<uint32_t>& levels) {
  EmbedItem item;
  const MediaKind kind = KindOf(path, bytes, choices.clip.gif_clips);
  if (kind == MediaKind::kClip) {
    item.source = VideoSource{std::move(bytes), ToClipSampling(choices.clip)};
    SetClipPreprocessing(choices, item);
  } else {
    item.source = ImageSource{std::move(bytes)};
    SetImagePreprocessing(choices, item);
  }
  SetOutputs(choices, levels, item);
  return item;
}

absl::StatusOr<Embedding> ToEmbedding(EmbedResult result, const std::vector<std::string>& tensor_names) {
  if (!result.status.ok()) return result.status;
  Embedding embedding;
  embedding.grid = {result.grid_thw[0], result.grid_thw[1], result.grid_thw[2]};
  embedding.token_count = result.token_count;
  embedding.stage_seconds = std::move(result.stage_seconds);
  if (!result.frame_indices.empty()) {
    embedding.clip = ClipSummary{std::move(result.frame_indices), result.source_fps, std::move(result.slice_timestamps),
                                 result.padded};
  }
  for (const std::string& name : tensor_names) {
    if (name == "grid_thw") continue;
    const auto output = std::find_if(result.outputs.begin(), result.outputs.end(),
                                     [&](const OutputTensor& candidate) { return candidate.name == name; });
    if (output == result.outputs.end()) return absl::InternalError(absl::StrCat("the server did not send ", name));
    embedding.tensors.push_back(
        {name, SafetensorsDType(output->dtype), std::move(output->shape), std::move(output->data)});
  }
  embedding.tensors.push_back(GridTensor("grid_thw", embedding.grid, {3}));
  return embedding;
}

}  // namespace vitower
