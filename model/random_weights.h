#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "model/make_checkpoint.h"
#include "model/tower_source.h"
#include "model/tower_tensors.h"

namespace vitower {

// Draws the tensors of CheckpointRecipe (make_checkpoint.h says from which distributions). Each value depends on seed,
// tensor name and place alone, so tensors can be drawn in any order, on any number of threads, with equal bytes.
// Thread-safe.
class RandomWeights final {
 public:
  RandomWeights(const TowerConfig& tower, DType dtype, uint64_t seed, bool outliers)
      : tower_(tower), dtype_(dtype), seed_(seed), outliers_(outliers) {}

  // REQUIRES: `spec` is one of TowerTensors(tower).
  TowerTensor Draw(const TensorSpec& spec) const;

 private:
  const TowerConfig tower_;
  const DType dtype_;
  const uint64_t seed_;
  const bool outliers_;
};

// A whole tower of a named shape, in memory, with the hub's processor limits: what a checkpoint of `recipe` would load.
absl::StatusOr<TowerSource> RandomTower(const CheckpointRecipe& recipe, int threads);

// SHAPE where `model` is "random:SHAPE".
std::optional<std::string> RandomShape(std::string_view model);

// The limits and normalisation that the hub's Qwen3-VL files carry.
ImageProcessorConfig HubImageProcessor();
VideoProcessorConfig HubVideoProcessor();

}  // namespace vitower
