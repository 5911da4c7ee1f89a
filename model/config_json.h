#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "model/encoder.h"

namespace vitower {

// What a checkpoint folder's JSON files say of the tower and where its tensors are. Every error names file and key,
// what it holds and what was expected.

struct ModelConfig {
  TowerConfig tower;
  std::optional<DType> dtype;  // as config.json states it, if it does
};

// config.json: vision_config, checked by CheckTowerConfig.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::filesystem::path& folder);

// *.safetensors.index.json: tensor name -> file name. Refuses file names that are not plain names in the folder,
// and a tensor that is named twice.
absl::StatusOr<std::map<std::string, std::string>> ReadWeightMap(const std::filesystem::path& index);

}  // namespace vitower
