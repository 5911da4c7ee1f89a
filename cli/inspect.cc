#include "model/inspect.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/command.h"
#include "cli/parse.h"

namespace vitower {
namespace {

constexpr char kInspectExamples[] =
    "  vitower inspect --model Qwen3-VL-2B-Instruct/\n"
    "  vitower inspect --model Qwen3-VL-2B-Instruct/ --json\n"
    "  vitower inspect --model random:2b";

// What follows from a summary.
struct Costs {
  int64_t bf16_bytes = 0;  // of the weights in memory
  int64_t fp32_bytes = 0;
  int64_t min_tokens = 0;  // of one image
  int64_t max_tokens = 0;
  int64_t max_clip_tokens = 0;
  int64_t output_bytes = 0;  // of one token in bf16, every output
};

Costs CostsOf(const CheckpointSummary& summary) {
  const TowerConfig& tower = summary.tower;
  const int64_t side = tower.patch_size * tower.spatial_merge_size;
  const int64_t clip_pixels = summary.video_processor ? summary.video_processor->max_pixels : 0;
  const auto outputs = static_cast<int64_t>(1 + tower.deepstack_visual_indexes.size());
  return {.bf16_bytes = summary.parameter_count * 2,
          .fp32_bytes = summary.parameter_count * 4,
          .min_tokens = (summary.image_processor.min_pixels + side * side - 1) / (side * side),
          .max_tokens = summary.image_processor.max_pixels / (side * side),
          .max_clip_tokens = clip_pixels / (side * side * tower.temporal_patch_size),
          .output_bytes = outputs * tower.out_hidden_size * ByteSize(DType::kBf16)};
}

std::string MiB(int64_t bytes) { return absl::StrFormat("%.1f MiB", static_cast<double>(bytes) / (1 << 20)); }

std::string Levels(const TowerConfig& tower) {
  if (tower.deepstack_visual_indexes.empty()) return "none";
  return absl::StrCat(tower.deepstack_visual_indexes.size(), ", after blocks ",
                      absl::StrJoin(tower.deepstack_visual_indexes, ", "));
}

std::string ClipSize(const std::optional<VideoProcessorConfig>& video) {
  if (!video) return "clips are refused: there is no video processor";
  return absl::StrCat(video->min_pixels, " to ", video->max_pixels, " pixels, all frames together");
}

std::string Table(const CheckpointSummary& summary) {
  const TowerConfig& tower = summary.tower;
  const ImageProcessorConfig& images = summary.image_processor;
  const Costs costs = CostsOf(summary);
  std::string text;
  const auto row = [&text](const char* name, const std::string& value) {
    absl::StrAppendFormat(&text, "%-18s %s\n", name, value);
  };
  row("model", summary.folder);
  if (!summary.files.empty()) row("files", absl::StrJoin(summary.files, ", "));
  const std::string names = summary.prefix.empty() ? "" : absl::StrCat(", named ", summary.prefix, "*");
  row("tensors", absl::StrCat(summary.tensor_count, " of the tower", names));
  row(summary.files.empty() ? "drawn as" : "stored as",
      absl::StrCat(std::string(Name(summary.stored_dtype)), ", ", MiB(summary.weight_bytes)));
  row("parameters", absl::StrCat(summary.parameter_count));
  row("weights in memory", absl::StrCat(MiB(costs.bf16_bytes), " in bf16, ", MiB(costs.fp32_bytes), " in fp32"));
  row("depth", absl::StrCat(tower.depth));
  row("hidden size", absl::StrCat(tower.hidden_size, " (", tower.num_heads, " heads of ", tower.head_dim(), ")"));
  row("intermediate size", absl::StrCat(tower.intermediate_size));
  row("output size", absl::StrCat(tower.out_hidden_size));
  row("DeepStack levels", Levels(tower));
  row("patch", absl::StrCat(tower.patch_size, "x", tower.patch_size, " pixels, ", tower.temporal_patch_size,
                            " frames; ", tower.merge_unit(), " patches make a token"));
  row("image size", absl::StrCat(images.min_pixels, " to ", images.max_pixels, " pixels"));
  row("tokens per image", absl::StrCat(costs.min_tokens, " to ", costs.max_tokens));
  row("clip size", ClipSize(summary.video_processor));
  if (const auto& video = summary.video_processor) {
    row("clip sampling", absl::StrCat(video->fps, " frames a second, ", video->min_frames, " to ", video->max_frames));
    row("tokens per clip", absl::StrCat("up to about ", costs.max_clip_tokens));
  }
  row("bytes per token", absl::StrCat(costs.output_bytes, " in bf16, all outputs"));
  return text;
}

nlohmann::ordered_json SummaryJson(const CheckpointSummary& summary) {
  const TowerConfig& tower = summary.tower;
  const ImageProcessorConfig& images = summary.image_processor;
  const Costs costs = CostsOf(summary);
  nlohmann::ordered_json video;  // null: clips are refused
  if (const auto& processor = summary.video_processor) {
    video = {{"min_pixels", processor->min_pixels},
             {"max_pixels", processor->max_pixels},
             {"fps", processor->fps},
             {"min_frames", processor->min_frames},
             {"max_frames", processor->max_frames},
             {"max_tokens", costs.max_clip_tokens}};
  }
  return {{"model", summary.folder},
          {"files", summary.files},
          {"prefix", summary.prefix},
          {"stored_dtype", Name(summary.stored_dtype)},
          {"tensor_count", summary.tensor_count},
          {"parameter_count", summary.parameter_count},
          {"weight_bytes", summary.weight_bytes},
          {"weight_bytes_bf16", costs.bf16_bytes},
          {"weight_bytes_fp32", costs.fp32_bytes},
          {"depth", tower.depth},
          {"hidden_size", tower.hidden_size},
          {"num_heads", tower.num_heads},
          {"head_dim", tower.head_dim()},
          {"intermediate_size", tower.intermediate_size},
          {"out_hidden_size", tower.out_hidden_size},
          {"deepstack_visual_indexes", tower.deepstack_visual_indexes},
          {"patch_size", tower.patch_size},
          {"temporal_patch_size", tower.temporal_patch_size},
          {"spatial_merge_size", tower.spatial_merge_size},
          {"num_position_embeddings", tower.num_position_embeddings},
          {"min_pixels", images.min_pixels},
          {"max_pixels", images.max_pixels},
          {"image_mean", images.image_mean},
          {"image_std", images.image_std},
          {"min_image_tokens", costs.min_tokens},
          {"max_image_tokens", costs.max_tokens},
          {"video", std::move(video)},
          {"output_bytes_per_token_bf16", costs.output_bytes}};
}

class Inspect final : public Command {
 public:
  explicit Inspect(CLI::App& root)
      : Command(root, "inspect", "Check a model as serving it would, and tell what it holds and what it would cost.",
                kInspectExamples) {
    options().Add({"model", "MODEL", "", "a checkpoint folder as downloaded from the hub, or random:SHAPE; required"},
                  IntoText(&model_));
    options().Add({"dtype", "DTYPE", "", "bf16 or fp32, as serve --dtype (default: the checkpoint's own)"},
                  Into(&dtype_, ParseDType));
    options().AddSwitch("json", "print JSON instead of a table", &json_);
  }

 private:
  ExitCode Execute() override {
    if (model_.empty()) return Fail(ExitCode::kUsage, "--model is required: a checkpoint folder, or random:2b");
    const absl::StatusOr<CheckpointSummary> summary = InspectCheckpoint(model_, dtype_);
    if (!summary.ok()) return Fail(ExitCode::kRefused, std::string(summary.status().message()));
    const std::string text = json_ ? SummaryJson(*summary).dump(2) + "\n" : Table(*summary);
    std::fputs(text.c_str(), stdout);
    return ExitCode::kOk;
  }

  std::string model_;
  std::optional<DType> dtype_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeInspect(CLI::App& root) { return std::make_unique<Inspect>(root); }

}  // namespace vitower
