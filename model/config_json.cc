#include "model/config_json.h"

#include <cmath>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/shape_check.h"

namespace vitower {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr size_t kMaxJsonBytes = 64 << 20;

absl::StatusOr<json> ReadJson(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) return absl::FailedPreconditionError(absl::StrCat(path.string(), ": cannot read: ", error.message()));
  if (size > kMaxJsonBytes) {
    return absl::FailedPreconditionError(absl::StrCat(path.string(), ": ", size, " bytes, at most ", kMaxJsonBytes));
  }
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  try {
    json value = json::parse(text);
    if (value.is_object()) return value;
    return absl::FailedPreconditionError(absl::StrCat(path.string(), ": not a JSON object"));
  } catch (const json::exception& e) {
    return absl::FailedPreconditionError(absl::StrCat(path.string(), ": not valid JSON: ", e.what()));
  }
}

// One JSON object with the words to name it in an error. Getters leave `out` alone and remember the first error.
class Section final {
 public:
  Section(std::string name, const json& object) : name_(std::move(name)), object_(object) {}

  const absl::Status& status() const { return status_; }
  const json* Find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  void Fail(const char* key, const std::string& what) {
    if (status_.ok()) status_ = absl::FailedPreconditionError(absl::StrCat(name_, ".", key, ": ", what));
  }
  void FailValue(const char* key, const std::string& expected) {
    Fail(key,
         absl::StrCat("is ", Find(key)->dump(-1, ' ', false, json::error_handler_t::replace), ", expected ", expected));
  }

  bool Number(const char* key, double& out) {
    const json* value = Find(key);
    if (value == nullptr) return false;
    if (!value->is_number()) FailValue(key, "a number");
    if (value->is_number()) out = value->get<double>();
    return true;
  }
  // Integers may be written 2 or 2.0.
  bool Integer(const char* key, int64_t& out) {
    double number = 0;
    if (!Number(key, number) || !status_.ok()) return Find(key) != nullptr;
    if (number != std::floor(number) || std::abs(number) > 1e15) FailValue(key, "an integer");
    out = std::abs(number) > 1e15 ? 0 : static_cast<int64_t>(number);
    return true;
  }
  void RequireInteger(const char* key, int64_t& out) {
    if (!Integer(key, out)) Fail(key, "missing");
  }
  // For settings that this program does one way only: absent is fine, anything else than `expected` is not.
  void ExpectIfPresent(const char* key, const json& expected) {
    if (const json* value = Find(key); value != nullptr && *value != expected) FailValue(key, expected.dump());
  }
  void RequireEqual(const char* key, int64_t expected, const char* what) {
    int64_t value = 0;
    if (!Integer(key, value)) Fail(key, "missing");
    if (value != expected) Fail(key, absl::StrCat("is ", value, ", the tower's ", what, " is ", expected));
  }
  void RequireTriple(const char* key, float (&out)[3]) {
    const json* value = Find(key);
    if (value == nullptr) return Fail(key, "missing");
    if (!value->is_array() || value->size() != 3) return FailValue(key, "three numbers");
    for (size_t i = 0; i < 3; ++i) {
      if (!(*value)[i].is_number()) return FailValue(key, "three numbers");
      out[i] = (*value)[i].get<float>();
    }
  }

 private:
  const std::string name_;
  const json& object_;
  absl::Status status_;
};

std::optional<DType> ParseDType(const json& object) {
  for (const char* key : {"dtype", "torch_dtype"}) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_string()) continue;
    const auto name = found->get<std::string>();
    if (absl::EndsWith(name, "bfloat16")) return DType::kBf16;
    if (absl::EndsWith(name, "float16")) return DType::kFp16;
    if (absl::EndsWith(name, "float32")) return DType::kFp32;
  }
  return std::nullopt;
}

void ReadDeepstack(Section& vision, std::vector<int64_t>& indexes) {
  constexpr const char* kKey = "deepstack_visual_indexes";
  const json* list = vision.Find(kKey);
  if (list == nullptr) return;
  if (!list->is_array()) return vision.FailValue(kKey, "a list of block indexes");
  for (const json& index : *list) {
    if (!index.is_number_integer()) return vision.FailValue(kKey, "a list of block indexes");
    indexes.push_back(index.get<int64_t>());
  }
}

TowerConfig ReadTower(Section& vision) {
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
    if (rope->value("rope_theta", json(10000.0)) != json(10000.0))
      vision.FailValue("rope_parameters", "rope_theta 10000");
  }
  return tower;
}

// size {shortest_edge, longest_edge} are areas; min_pixels and max_pixels beside it win, as in the reference.
void ReadLimits(Section& processor, ImageProcessorConfig& config) {
  if (const json* size = processor.Find("size"); size != nullptr && size->is_object()) {
    Section edges("size", *size);
    edges.Integer("shortest_edge", config.min_pixels);
    edges.Integer("longest_edge", config.max_pixels);
    if (!edges.status().ok()) processor.Fail("size", std::string(edges.status().message()));
  }
  processor.Integer("min_pixels", config.min_pixels);
  processor.Integer("max_pixels", config.max_pixels);
  if (config.min_pixels < 1 || config.max_pixels < config.min_pixels) {
    processor.Fail(
        "size", absl::StrCat("shortest_edge and longest_edge (or min_pixels and max_pixels) give ", config.min_pixels,
                             " to ", config.max_pixels, " pixels, expected two positive areas in ascending order"));
  }
}

// Checks `processor` against what preprocess/ and the upload stage do.
void CheckSteps(Section& processor, const ImageProcessorConfig& config) {
  for (const char* step : {"do_resize", "do_rescale", "do_normalize"}) processor.ExpectIfPresent(step, true);
  processor.ExpectIfPresent("resample", 3);
  double factor = 1.0 / 255;
  processor.Number("rescale_factor", factor);
  if (std::abs(factor * 255 - 1) > 1e-9) processor.FailValue("rescale_factor", "1/255");
  for (const float std : config.image_std) {
    if (!(std > 0)) processor.FailValue("image_std", "positive numbers");
  }
}

}  // namespace

absl::StatusOr<ModelConfig> ReadModelConfig(const fs::path& folder) {
  const fs::path path = folder / "config.json";
  const auto root = ReadJson(path);
  if (!root.ok()) return root.status();
  const auto vision = root->find("vision_config");
  if (vision == root->end() || !vision->is_object()) {
    return absl::FailedPreconditionError(absl::StrCat(path.string(), ": vision_config: missing"));
  }
  Section section(absl::StrCat(path.string(), ": vision_config"), *vision);
  ModelConfig config;
  config.tower = ReadTower(section);
  if (!section.status().ok()) return section.status();
  if (absl::Status status = CheckTowerConfig(config.tower); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(path.string(), ": ", status.message()));
  }
  config.dtype = ParseDType(*vision);
  if (!config.dtype) config.dtype = ParseDType(*root);
  return config;
}

absl::StatusOr<ImageProcessorConfig> ReadImageProcessor(const fs::path& folder, const TowerConfig& tower) {
  const bool own_file = fs::exists(folder / "preprocessor_config.json");
  const fs::path path = folder / (own_file ? "preprocessor_config.json" : "processor_config.json");
  if (!own_file && !fs::exists(path)) {
    return absl::FailedPreconditionError(
        absl::StrCat(folder.string(), ": neither preprocessor_config.json nor processor_config.json"));
  }
  const auto root = ReadJson(path);
  if (!root.ok()) return root.status();
  const json* object = &*root;
  if (!own_file) {
    const auto nested = root->find("image_processor");
    if (nested == root->end() || !nested->is_object()) {
      return absl::FailedPreconditionError(absl::StrCat(path.string(), ": image_processor: missing"));
    }
    object = &*nested;
  }
  Section section(absl::StrCat(path.string(), own_file ? ": " : ": image_processor"), *object);
  ImageProcessorConfig config;
  section.RequireEqual("patch_size", tower.patch_size, "patch_size");
  section.RequireEqual("temporal_patch_size", tower.temporal_patch_size, "temporal_patch_size");
  section.RequireEqual("merge_size", tower.spatial_merge_size, "spatial_merge_size");
  section.RequireTriple("image_mean", config.image_mean);
  section.RequireTriple("image_std", config.image_std);
  if (section.status().ok()) ReadLimits(section, config);
  if (section.status().ok()) CheckSteps(section, config);
  if (!section.status().ok()) return section.status();
  return config;
}

absl::StatusOr<std::map<std::string, std::string>> ReadWeightMap(const fs::path& index) {
  const auto root = ReadJson(index);
  if (!root.ok()) return root.status();
  const auto entries = root->find("weight_map");
  if (entries == root->end() || !entries->is_object()) {
    return absl::FailedPreconditionError(absl::StrCat(index.string(), ": weight_map: missing"));
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, value] : entries->items()) {
    const std::string file = value.is_string() ? value.get<std::string>() : "";
    if (file.empty() || file == "." || file == ".." || file.find('/') != std::string::npos ||
        file.find('\0') != std::string::npos) {
      return absl::FailedPreconditionError(absl::StrCat(index.string(), ": weight_map.", tensor, ": \"", file,
                                                        "\" is not the name of a file in the folder"));
    }
    files[tensor] = file;
  }
  return files;
}

}  // namespace vitower
