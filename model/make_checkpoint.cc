#include "model/make_checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/bad_file.h"
#include "model/guard.h"
#include "model/parallel.h"
#include "model/random_weights.h"
#include "model/safetensors.h"
#include "model/tower_tensors.h"

namespace vitower {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

TowerConfig Shape(int64_t depth, int64_t hidden, int64_t heads, int64_t intermediate, int64_t out,
                  std::vector<int64_t> deepstack) {
  TowerConfig tower;
  tower.depth = depth;
  tower.hidden_size = hidden;
  tower.num_heads = heads;
  tower.intermediate_size = intermediate;
  tower.out_hidden_size = out;
  tower.deepstack_visual_indexes = std::move(deepstack);
  return tower;
}

const std::map<std::string_view, TowerConfig>& Shapes() {
  static const std::map<std::string_view, TowerConfig> shapes = {{"tiny", Shape(4, 128, 2, 256, 96, {1, 2, 3})},
                                                                 {"2b", Shape(24, 1024, 16, 4096, 2048, {5, 11, 17})},
                                                                 {"4b", Shape(24, 1024, 16, 4096, 2560, {5, 11, 17})},
                                                                 {"8b", Shape(27, 1152, 16, 4304, 4096, {8, 16, 24})},
                                                                 {"32b", Shape(27, 1152, 16, 4304, 5120, {8, 16, 24})}};
  return shapes;
}

ordered_json VisionConfig(const TowerConfig& tower) {
  return {{"deepstack_visual_indexes", tower.deepstack_visual_indexes},
          {"depth", tower.depth},
          {"hidden_act", "gelu_pytorch_tanh"},
          {"hidden_size", tower.hidden_size},
          {"in_channels", tower.in_channels},
          {"initializer_range", 0.02},
          {"intermediate_size", tower.intermediate_size},
          {"model_type", "qwen3_vl"},
          {"num_heads", tower.num_heads},
          {"num_position_embeddings", tower.num_position_embeddings},
          {"out_hidden_size", tower.out_hidden_size},
          {"patch_size", tower.patch_size},
          {"spatial_merge_size", tower.spatial_merge_size},
          {"temporal_patch_size", tower.temporal_patch_size}};
}

// The language model is described, since readers of the format expect it, but has no tensors.
ordered_json ModelConfigJson(const TowerConfig& tower, DType dtype) {
  const std::string name = dtype == DType::kBf16 ? "bfloat16" : "float32";
  const ordered_json text = {{"model_type", "qwen3_vl_text"},
                             {"dtype", name},
                             {"hidden_size", tower.out_hidden_size},
                             {"num_hidden_layers", 4},
                             {"intermediate_size", 4 * tower.out_hidden_size}};
  return {{"architectures", {"Qwen3VLForConditionalGeneration"}},
          {"image_token_id", 151655},
          {"model_type", "qwen3_vl"},
          {"dtype", name},
          {"text_config", text},
          {"tie_word_embeddings", true},
          {"video_token_id", 151656},
          {"vision_config", VisionConfig(tower)},
          {"vision_end_token_id", 151653},
          {"vision_start_token_id", 151652}};
}

ordered_json ProcessorJson(int64_t min_pixels, int64_t max_pixels, const TowerConfig& tower) {
  return {{"size", {{"longest_edge", max_pixels}, {"shortest_edge", min_pixels}}},
          {"patch_size", tower.patch_size},
          {"temporal_patch_size", tower.temporal_patch_size},
          {"merge_size", tower.spatial_merge_size},
          {"image_mean", {0.5, 0.5, 0.5}},
          {"image_std", {0.5, 0.5, 0.5}},
          {"processor_class", "Qwen3VLProcessor"}};
}

absl::Status WriteJson(const fs::path& path, const ordered_json& value) {
  std::ofstream file(path, std::ios::binary);
  file << value.dump(2) << "\n";
  file.close();
  return file ? absl::OkStatus() : absl::InternalError(absl::StrCat(path.string(), ": cannot write"));
}

absl::Status WriteConfigs(const fs::path& folder, const TowerConfig& tower, DType dtype) {
  const ImageProcessorConfig hub_image = HubImageProcessor();
  const VideoProcessorConfig hub_video = HubVideoProcessor();
  ordered_json image = ProcessorJson(hub_image.min_pixels, hub_image.max_pixels, tower);
  image["image_processor_type"] = "Qwen2VLImageProcessorFast";
  ordered_json video = ProcessorJson(hub_video.min_pixels, hub_video.max_pixels, tower);
  video["video_processor_type"] = "Qwen3VLVideoProcessor";
  const std::pair<const char*, ordered_json> files[] = {{"preprocessor_config.json", std::move(image)},
                                                        {"video_preprocessor_config.json", std::move(video)},
                                                        {"config.json", ModelConfigJson(tower, dtype)}};
  for (const auto& [name, value] : files) {
    if (absl::Status status = WriteJson(folder / name, value); !status.ok()) return status;
  }
  return absl::OkStatus();
}

int64_t Bytes(const TensorSpec& spec, DType dtype) { return spec.element_count() * ByteSize(dtype); }

// Cuts the tensors, in their order, into files of about equal bytes.
std::vector<std::vector<TensorSpec>> CutIntoShards(const std::vector<TensorSpec>& specs,
                                                   const CheckpointRecipe& recipe) {
  int64_t total = 0;
  for (const TensorSpec& spec : specs) total += Bytes(spec, recipe.dtype);
  std::vector<std::vector<TensorSpec>> shards(recipe.shards);
  int64_t before = 0;
  for (const TensorSpec& spec : specs) {
    const auto shard = static_cast<size_t>(before / (total / recipe.shards + 1));
    shards[shard].push_back(spec);
    before += Bytes(spec, recipe.dtype);
  }
  return shards;
}

std::string ShardName(int shard, int shards) {
  return shards == 1 ? "model.safetensors" : absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, shards);
}

absl::Status WriteShard(const fs::path& path, const std::vector<TensorSpec>& specs, const TowerConfig& tower,
                        const CheckpointRecipe& recipe) {
  const RandomWeights weights(tower, recipe.dtype, recipe.seed, recipe.outliers);
  std::vector<SafetensorsEntry> entries;
  entries.reserve(specs.size());
  for (const TensorSpec& spec : specs) {
    entries.push_back({recipe.prefix + spec.name, std::string(SafetensorsName(recipe.dtype)),
                       spec.name == kPatchWeight ? ConvShape(tower) : spec.shape});
  }
  auto writer = SafetensorsWriter::Create(path, entries, {{"format", "pt"}});
  if (!writer.ok()) return writer.status();
  const int threads = std::max(recipe.threads, 1);
  for (size_t begin = 0; begin < specs.size(); begin += threads) {
    const auto count = std::min<size_t>(threads, specs.size() - begin);
    std::vector<TowerTensor> drawn(count);
    ParallelFor(threads, static_cast<int64_t>(count), [&](int64_t i) { drawn[i] = weights.Draw(specs[begin + i]); });
    for (const TowerTensor& tensor : drawn) {
      if (absl::Status status = (*writer)->Append(tensor.bytes); !status.ok()) return status;
    }
  }
  return (*writer)->Finish();
}

absl::Status WriteIndex(const fs::path& folder, const std::vector<std::vector<TensorSpec>>& shards,
                        const CheckpointRecipe& recipe) {
  ordered_json weight_map = ordered_json::object();
  int64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const TensorSpec& spec : shards[i]) {
      weight_map[recipe.prefix + spec.name] = ShardName(static_cast<int>(i), recipe.shards);
      total += Bytes(spec, recipe.dtype);
    }
  }
  return WriteJson(folder / "model.safetensors.index.json",
                   {{"metadata", {{"total_size", total}}}, {"weight_map", std::move(weight_map)}});
}

absl::Status CheckRecipe(const CheckpointRecipe& recipe, const std::vector<TensorSpec>& specs) {
  if (recipe.dtype == DType::kFp16) {
    return absl::InvalidArgumentError("a random checkpoint is bf16 or fp32, fp16 was asked for");
  }
  if (recipe.shards < 1 || recipe.shards > static_cast<int>(specs.size())) {
    return absl::InvalidArgumentError(absl::StrCat("shards is ", recipe.shards, ", expected 1 to ", specs.size()));
  }
  return absl::OkStatus();
}

absl::Status PrepareFolder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return BadFile(folder, absl::StrCat("cannot create: ", error.message()));
  if (fs::exists(folder / "config.json", error)) {
    return absl::AlreadyExistsError(absl::StrCat(folder.string(), " already holds a config.json"));
  }
  return absl::OkStatus();
}

absl::Status Write(const fs::path& folder, const CheckpointRecipe& recipe) {
  const auto tower = NamedShape(recipe.shape);
  if (!tower.ok()) return tower.status();
  const std::vector<TensorSpec> specs = TowerTensors(*tower);
  if (absl::Status status = CheckRecipe(recipe, specs); !status.ok()) return status;
  if (absl::Status status = PrepareFolder(folder); !status.ok()) return status;
  const auto shards = CutIntoShards(specs, recipe);
  for (int i = 0; i < recipe.shards; ++i) {
    absl::Status status = WriteShard(folder / ShardName(i, recipe.shards), shards[i], *tower, recipe);
    if (!status.ok()) return status;
  }
  if (recipe.shards > 1) {
    if (absl::Status status = WriteIndex(folder, shards, recipe); !status.ok()) return status;
  }
  return WriteConfigs(folder, *tower, recipe.dtype);  // config.json last: its presence says that the rest is there
}

}  // namespace

std::vector<std::string_view> ShapeNames() { return {"2b", "4b", "8b", "32b", "tiny"}; }

absl::StatusOr<TowerConfig> NamedShape(std::string_view name) {
  const auto found = Shapes().find(name);
  if (found != Shapes().end()) return found->second;
  std::vector<std::string> names;
  for (const std::string_view shape : ShapeNames()) names.emplace_back(shape);
  return absl::InvalidArgumentError(
      absl::StrCat("unknown shape \"", std::string(name), "\", expected one of ", absl::StrJoin(names, ", ")));
}

absl::Status WriteRandomCheckpoint(const fs::path& folder, const CheckpointRecipe& recipe) {
  return Guarded(folder.string(), [&] { return Write(folder, recipe); });
}

}  // namespace vitower
