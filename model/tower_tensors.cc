#include "model/tower_tensors.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace vitower {
namespace {

class Specs final {
 public:
  void Affine(const std::string& scope, std::vector<int64_t> weight_shape) {
    const int64_t rows = weight_shape.front();
    specs_.push_back({scope + ".weight", std::move(weight_shape)});
    specs_.push_back({scope + ".bias", {rows}});
  }
  void Table(const std::string& name, int64_t rows, int64_t cols) { specs_.push_back({name, {rows, cols}}); }
  std::vector<TensorSpec> Take() { return std::move(specs_); }

 private:
  std::vector<TensorSpec> specs_;
};

void AddBlock(Specs& specs, const std::string& scope, const TowerConfig& tower) {
  const int64_t hidden = tower.hidden_size;
  specs.Affine(scope + ".norm1", {hidden});
  specs.Affine(scope + ".attn.qkv", {3 * hidden, hidden});
  specs.Affine(scope + ".attn.proj", {hidden, hidden});
  specs.Affine(scope + ".norm2", {hidden});
  specs.Affine(scope + ".mlp.linear_fc1", {tower.intermediate_size, hidden});
  specs.Affine(scope + ".mlp.linear_fc2", {hidden, tower.intermediate_size});
}

void AddMerger(Specs& specs, const std::string& scope, int64_t norm_size, const TowerConfig& tower) {
  const int64_t merged = tower.hidden_size * tower.merge_unit();
  specs.Affine(scope + ".norm", {norm_size});
  specs.Affine(scope + ".linear_fc1", {merged, merged});
  specs.Affine(scope + ".linear_fc2", {tower.out_hidden_size, merged});
}

}  // namespace

std::vector<TensorSpec> TowerTensors(const TowerConfig& tower) {
  Specs specs;
  specs.Affine("patch_embed.proj", {tower.hidden_size, tower.patch_dim()});
  specs.Table("pos_embed.weight", tower.num_position_embeddings, tower.hidden_size);
  for (int64_t i = 0; i < tower.depth; ++i) AddBlock(specs, absl::StrCat("blocks.", i), tower);
  AddMerger(specs, "merger", tower.hidden_size, tower);
  for (size_t i = 0; i < tower.deepstack_visual_indexes.size(); ++i) {
    AddMerger(specs, absl::StrCat("deepstack_merger_list.", i), tower.hidden_size * tower.merge_unit(), tower);
  }
  return specs.Take();
}

std::vector<int64_t> ConvShape(const TowerConfig& tower) {
  return {tower.hidden_size, tower.in_channels, tower.temporal_patch_size, tower.patch_size, tower.patch_size};
}

}  // namespace vitower
