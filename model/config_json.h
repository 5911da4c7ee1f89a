#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "model/encoder.h"

namespace vitower {

// What a checkpoint folder's JSON files say. Every error names file and key, what it holds and what was expected.

struct ModelConfig {
  TowerConfig tower;
  std::optional<DType> dtype;  // as config.json states it, if it does
};

// config.json: vision_config, checked by CheckTowerConfig.
absl::StatusOr<ModelConfig> ReadModelConfig(const std::filesystem::path& folder);

// preprocessor_config.json, or image_processor inside processor_config.json where the first is absent. Limits and
// normalisation; refuses settings that the tower's own preprocessing would contradict.
absl::StatusOr<ImageProcessorConfig> ReadImageProcessor(const std::filesystem::path& folder, const TowerConfig& tower);

// *.safetensors.index.json: tensor name -> file name. Refuses file names that are not plain names in the folder.
absl::StatusOr<std::map<std::string, std::string>> ReadWeightMap(const std::filesystem::path& index);

}  // namespace vitower
