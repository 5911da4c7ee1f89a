#include "model/config_json.h"

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/bad_file.h"
#include "model/excerpt.h"
#include "model/json_file.h"
#include "model/json_section.h"
#include "model/shape_check.h"

namespace vitower {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::optional<DType> ReadDType(JsonSection& section) {
  static constexpr std::pair<std::string_view, DType> kNames[] = {
      {"bfloat16", DType::kBf16}, {"float16", DType::kFp16}, {"half", DType::kFp16}, {"float32", DType::kFp32}};
  for (const char* key : {"dtype", "torch_dtype"}) {
    const json* value = section.Find(key);
    if (value == nullptr) continue;
    std::string text = value->is_string() ? value->get<std::string>() : "";
    if (text.starts_with("torch.")) text.erase(0, 6);
    for (const auto& [name, dtype] : kNames) {
      if (text == name) return dtype;
    }
    section.FailValue(key, "bfloat16, float16 or float32");
  }
  return std::nullopt;
}

// Absent is fine: towers are also published without the model around them.
void CheckModelType(JsonSection& root) {
  const json* value = root.Find("model_type");
  if (value == nullptr) return;
  if (!value->is_string() || !absl::StrContains(value->get_ref<const std::string&>(), "qwen3")) {
    root.FailValue("model_type", "a Qwen3-VL or Qwen3.5 model (qwen3_vl, qwen3_5, ...)");
  }
}

void ReadDeepstack(JsonSection& vision, std::vector<int64_t>& indexes) {
  constexpr const char* kKey = "deepstack_visual_indexes";
  const json* list = vision.Find(kKey);
  if (list == nullptr) return;
  if (!list->is_array()) return vision.FailValue(kKey, "a list of block indexes");
  for (const json& index : *list) {
    if (!index.is_number_integer()) return vision.FailValue(kKey, "a list of block indexes");
    indexes.push_back(index.get<int64_t>());
  }
}

TowerConfig ReadTower(JsonSection& vision) {
  TowerConfig tower;
  vision.RequireInteger("depth", tower.depth);
  vision.RequireInteger("hidden_size", tower.hidden_size);
  vision.RequireInteger("num_heads", tower.num_heads);
  vision.RequireInteger("intermediate_size", tower.intermediate_size);
  vision.RequireInteger("out_hidden_size", tower.out_hidden_size);
  vision.RequireInteger("num_position_embeddings", tower.num_position_embeddings);
  vision.RequireInteger("patch_size", tower.patch_size);
  vision.RequireInteger("temporal_patch_size", tower.temporal_patch_size);
  vision.RequireInteger("spatial_merge_size", tower.spatial_merge_size);
  vision.Integer("in_channels", tower.in_channels);
  vision.ExpectIfPresent("hidden_act", "gelu_pytorch_tanh");
  ReadDeepstack(vision, tower.deepstack_visual_indexes);
  if (const json* rope = vision.Find("rope_parameters"); rope != nullptr && rope->is_object()) {
    JsonSection inner = vision.Inner("rope_parameters");
    inner.ExpectIfPresent("rope_theta", 10000.0);
    vision.Adopt(inner);
  }
  return tower;
}

}  // namespace

absl::StatusOr<ModelConfig> ReadModelConfig(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  const auto root = ReadJsonFile(path);
  if (!root.ok()) return root.status();
  const auto vision = root->find("vision_config");
  if (vision == root->end() || !vision->is_object()) {
    return BadFile(path, "vision_config: missing");
  }
  JsonSection whole(absl::StrCat(path.string(), ": "), *root);
  CheckModelType(whole);
  if (!whole.status().ok()) return whole.status();
  JsonSection section(absl::StrCat(path.string(), ": vision_config."), *vision);
  ModelConfig config;
  config.tower = ReadTower(section);
  if (!section.status().ok()) return section.status();
  if (absl::Status status = CheckTowerConfig(config.tower); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(path.string(), ": ", status.message()));
  }
  const std::optional<DType> own = ReadDType(section);
  const std::optional<DType> outer = ReadDType(whole);
  section.Adopt(whole);
  if (!section.status().ok()) return section.status();
  config.dtype = own ? own : outer;
  return config;
}

absl::StatusOr<std::map<std::string, std::string>> ReadWeightMap(const fs::path& index) {
  const auto root = ReadJsonFile(index, "weight_map");
  if (!root.ok()) return root.status();
  const auto entries = root->find("weight_map");
  if (entries == root->end() || !entries->is_object()) {
    return BadFile(index, "weight_map: missing");
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, value] : entries->items()) {
    const std::string file = value.is_string() ? value.get<std::string>() : "";
    if (file.empty() || file == "." || file == ".." || file.find('/') != std::string::npos ||
        file.find('\0') != std::string::npos) {
      return BadFile(index, absl::StrCat("weight_map.", Excerpt(tensor), ": \"", Excerpt(file),
                                         "\" is not the name of a file in the folder"));
    }
    files[tensor] = file;
  }
  return files;
}

}  // namespace vitower
