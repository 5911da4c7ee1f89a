#include "model/checkpoint.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/bad_file.h"
#include "model/config_json.h"
#include "model/excerpt.h"
#include "model/processor_json.h"
#include "model/safetensors.h"
#include "model/tower_tensors.h"

namespace vitower {
namespace {

namespace fs = std::filesystem;

const std::string kPrefixes[] = {"model.visual.", "visual.", "vision_tower."};

bool Exists(const fs::path& path) {
  std::error_code error;  // a name that cannot be is not there
  return fs::exists(path, error);
}

absl::StatusOr<std::vector<fs::path>> FilesEndingWith(const fs::path& folder, std::string_view suffix) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    if (entry->path().filename().string().ends_with(suffix)) files.push_back(entry->path());
  }
  if (error) return BadFile(folder, absl::StrCat("cannot list: ", error.message()));
  std::sort(files.begin(), files.end());
  return files;
}

// Where a folder keeps its tensors: one file, or the files of an index.
struct Layout {
  fs::path single;
  fs::path index;
};

// Refuses an index that knows nothing of the single file beside it: one of the two is left from something else.
absl::Status CheckIndexNames(const fs::path& index, const std::string& single) {
  const auto weight_map = ReadWeightMap(index);
  if (!weight_map.ok()) return weight_map.status();
  for (const auto& [name, file] : *weight_map) {
    if (file == single) return absl::OkStatus();
  }
  return BadFile(index, absl::StrCat("its weight_map does not name ", single,
                                     ", which lies beside it: remove the one that is not the model's"));
}

absl::StatusOr<Layout> FindLayout(const fs::path& folder) {
  const auto indexes = FilesEndingWith(folder, ".safetensors.index.json");
  if (!indexes.ok()) return indexes.status();
  const fs::path single = folder / "model.safetensors";
  const bool has_single = Exists(single);
  for (const fs::path& index : *indexes) {
    if (!has_single) break;
    if (absl::Status status = CheckIndexNames(index, "model.safetensors"); !status.ok()) return status;
  }
  if (indexes->size() == 1) return Layout{{}, indexes->front()};
  if (has_single && indexes->empty()) return Layout{single, {}};
  const auto files = FilesEndingWith(folder, ".safetensors");
  if (!files.ok()) return files.status();
  if (indexes->empty() && files->size() == 1) return Layout{files->front(), {}};
  return BadFile(folder,
                 absl::StrCat("found ", files->size(), " *.safetensors and ", indexes->size(),
                              " *.safetensors.index.json, expected model.safetensors, one other file or one index"));
}

absl::StatusOr<std::string> FindPrefix(const fs::path& where, const std::set<std::string, std::less<>>& names) {
  std::vector<std::string> found;
  for (const std::string& prefix : kPrefixes) {
    const auto first = names.lower_bound(prefix);
    if (first != names.end() && first->starts_with(prefix)) found.emplace_back(prefix);
  }
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    return BadFile(where, absl::StrCat("no tower: none of its ", names.size(), " tensors begins with \"",
                                       absl::StrJoin(kPrefixes, "\", \""), "\""));
  }
  return BadFile(where, absl::StrCat("tensors under more than one prefix: ", absl::StrJoin(found, ", ")));
}

struct Found {
  std::string file;
  SafetensorsTensor tensor;
  std::shared_ptr<const void> hold;
};

using FoundTensors = std::map<std::string, Found, std::less<>>;  // by name without prefix

struct Tensors {
  std::string prefix;
  std::vector<std::string> files;
  FoundTensors found;
};

absl::Status Collect(const fs::path& path, Tensors& tensors) {
  const auto file = SafetensorsFile::Open(path);
  if (!file.ok()) return file.status();
  tensors.files.push_back(path.filename().string());
  for (const auto& [name, tensor] : file->tensors()) {
    if (!name.starts_with(tensors.prefix)) continue;
    const auto [place, fresh] = tensors.found.try_emplace(name.substr(tensors.prefix.size()));
    if (!fresh) return BadFile(path, absl::StrCat("tensor \"", Excerpt(name), "\" is also in ", place->second.file));
    place->second = {path.filename().string(), tensor, file->Hold(tensor)};
  }
  return absl::OkStatus();
}

absl::StatusOr<Tensors> ReadSingle(const fs::path& path) {
  const auto file = SafetensorsFile::Open(path);
  if (!file.ok()) return file.status();
  std::set<std::string, std::less<>> names;
  for (const auto& [name, tensor] : file->tensors()) names.insert(name);
  auto prefix = FindPrefix(path, names);
  if (!prefix.ok()) return prefix.status();
  Tensors tensors{*std::move(prefix), {}, {}};
  if (absl::Status status = Collect(path, tensors); !status.ok()) return status;
  return tensors;
}

absl::StatusOr<Tensors> ReadShards(const fs::path& index) {
  const auto weight_map = ReadWeightMap(index);
  if (!weight_map.ok()) return weight_map.status();
  std::set<std::string, std::less<>> names;
  for (const auto& [name, file] : *weight_map) names.insert(name);
  auto prefix = FindPrefix(index, names);
  if (!prefix.ok()) return prefix.status();
  Tensors tensors{*std::move(prefix), {}, {}};
  std::set<std::string> files;
  for (const auto& [name, file] : *weight_map) {
    if (!name.starts_with(tensors.prefix) || !files.insert(file).second) continue;
    const fs::path shard = index.parent_path() / file;
    if (!Exists(shard)) {
      return BadFile(index,
                     absl::StrCat("the shard ", Excerpt(file), " is missing (it should hold \"", Excerpt(name), "\")"));
    }
    if (absl::Status status = Collect(shard, tensors); !status.ok()) return status;
  }
  for (const auto& [name, file] : *weight_map) {
    if (!name.starts_with(tensors.prefix)) continue;
    const auto found = tensors.found.find(name.substr(tensors.prefix.size()));
    if (found == tensors.found.end())
      return BadFile(index.parent_path() / file, absl::StrCat("no tensor \"", Excerpt(name), "\""));
    if (found->second.file != file) {
      return BadFile(index,
                     absl::StrCat("\"", Excerpt(name), "\" should be in ", file, ", it is in ", found->second.file));
    }
  }
  return tensors;
}

// The dtypes of the tower's own tensors decide, not a quantization_config: most quantised releases leave the tower
// float.
bool IsFloat(std::string_view dtype) { return dtype == "BF16" || dtype == "F16" || dtype == "F32"; }

bool HasExpectedShape(const TensorSpec& spec, const std::vector<int64_t>& shape, const TowerConfig& tower) {
  return shape == spec.shape || (spec.name == kPatchWeight && shape == ConvShape(tower));
}

std::string ExpectedShape(const TensorSpec& spec, const TowerConfig& tower) {
  std::string shape = absl::StrCat("[", absl::StrJoin(spec.shape, ", "), "]");
  if (spec.name != kPatchWeight) return shape;
  return absl::StrCat("[", absl::StrJoin(ConvShape(tower), ", "), "] or ", shape);
}

// Why a tensor that the configuration does not announce is there; empty if it may be.
std::string WhyUnexpected(std::string_view name, const TowerConfig& tower) {
  if (name == "rotary_pos_emb.inv_freq") return "";  // a table that some writers store; always computed here
  for (const std::string_view suffix : {"_scale", "_scale_inv", ".scales", ".qweight", ".qzeros", ".biases", ".SCB",
                                        ".absmax", ".quant_map", ".weight_packed", ".zeros"}) {
    if (name.ends_with(suffix)) return "the tower is quantised, expected float weights";
  }
  return absl::StrCat("not part of the tower that config.json describes (depth ", tower.depth, ", ",
                      tower.deepstack_visual_indexes.size(), " DeepStack mergers)");
}

absl::Status CheckNoneUnexpected(const fs::path& folder, const Tensors& tensors, const std::vector<TensorSpec>& specs,
                                 const TowerConfig& tower) {
  std::set<std::string_view> expected;
  for (const TensorSpec& spec : specs) expected.insert(spec.name);
  for (const auto& [name, found] : tensors.found) {
    if (expected.contains(name)) continue;
    const std::string why = WhyUnexpected(name, tower);
    if (!why.empty())
      return BadFile(folder / found.file, absl::StrCat("tensor \"", tensors.prefix, Excerpt(name), "\": ", why));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TowerTensor>> CheckAndOrder(const fs::path& folder, Tensors& tensors,
                                                       const TowerConfig& tower) {
  const std::vector<TensorSpec> specs = TowerTensors(tower);
  if (absl::Status status = CheckNoneUnexpected(folder, tensors, specs, tower); !status.ok()) return status;
  std::vector<TowerTensor> ordered;
  for (const TensorSpec& spec : specs) {
    const auto found = tensors.found.find(spec.name);
    if (found == tensors.found.end()) {
      return BadFile(folder, absl::StrCat("tensor \"", tensors.prefix, spec.name, "\" is missing, expected ",
                                          ExpectedShape(spec, tower)));
    }
    const SafetensorsTensor& tensor = found->second.tensor;
    const auto bad = [&](const std::string& what) {
      return BadFile(folder / found->second.file, absl::StrCat("tensor \"", tensors.prefix, spec.name, "\" ", what));
    };
    if (!IsFloat(tensor.dtype)) {
      return bad(absl::StrCat("is ", Excerpt(tensor.dtype), ", expected BF16, F16 or F32 (quantised?)"));
    }
    if (!HasExpectedShape(spec, tensor.shape, tower)) {
      return bad(absl::StrCat("has shape [", Excerpt(absl::StrJoin(tensor.shape, ", ")), "], expected ",
                              ExpectedShape(spec, tower)));
    }
    ordered.push_back({spec.name, tensor.dtype, spec.shape, tensor.bytes, std::move(found->second.hold)});
  }
  return ordered;
}

DType StoredDType(const std::vector<TowerTensor>& tensors) {
  const std::string& dtype = tensors.front().dtype;
  return dtype == "F32" ? DType::kFp32 : dtype == "F16" ? DType::kFp16 : DType::kBf16;
}

}  // namespace

absl::StatusOr<Checkpoint> OpenCheckpoint(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return absl::NotFoundError(absl::StrCat(folder.string(), ": not a folder (a checkpoint folder or random:SHAPE)"));
  }
  const auto config = ReadModelConfig(folder);
  if (!config.ok()) return config.status();
  const auto processor = ReadImageProcessor(folder, config->tower);
  if (!processor.ok()) return processor.status();
  const auto video_processor = ReadVideoProcessor(folder, config->tower, *processor);
  if (!video_processor.ok()) return video_processor.status();
  const auto layout = FindLayout(folder);
  if (!layout.ok()) return layout.status();
  auto tensors = layout->single.empty() ? ReadShards(layout->index) : ReadSingle(layout->single);
  if (!tensors.ok()) return tensors.status();
  auto ordered = CheckAndOrder(folder, *tensors, config->tower);
  if (!ordered.ok()) return ordered.status();

  Checkpoint checkpoint;
  checkpoint.prefix = tensors->prefix;
  checkpoint.files = std::move(tensors->files);
  checkpoint.source.tower = config->tower;
  checkpoint.source.image_processor = *processor;
  checkpoint.source.video_processor = *video_processor;
  checkpoint.source.dtype = config->dtype.value_or(StoredDType(*ordered));
  checkpoint.source.tensors = *std::move(ordered);
  return checkpoint;
}

}  // namespace vitower
