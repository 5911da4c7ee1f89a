#include "model/cuda/activations.h"

#include <algorithm>

namespace vitower {

Activations::Activations(const TowerConfig& tower, Element element)
    : tower_(tower), element_(element), outputs_(1 + tower.deepstack_visual_indexes.size()) {}

void Activations::Reserve(int64_t rows, size_t meta_bytes) {
  const int64_t element = ElementBytes(element_);
  const auto matrix = [&](int64_t width) { return static_cast<size_t>(rows * width * element); };
  const int64_t hidden = tower_.hidden_size;
  x_.Reserve(matrix(hidden));
  normed_.Reserve(matrix(hidden));
  qkv_.Reserve(matrix(3 * hidden));
  hidden_.Reserve(matrix(std::max({tower_.intermediate_size, tower_.patch_dim(), hidden})));
  rotary_.Reserve(static_cast<size_t>(rows * tower_.head_dim()) * sizeof(float));
  meta_.Reserve(meta_bytes);
  for (DeviceBuffer& output : outputs_) output.Reserve(matrix(tower_.out_hidden_size) / tower_.merge_unit());
}

int64_t Activations::bytes() const {
  size_t total = x_.bytes() + normed_.bytes() + qkv_.bytes() + hidden_.bytes() + rotary_.bytes() + meta_.bytes();
  for (const DeviceBuffer& output : outputs_) total += output.bytes();
  return static_cast<int64_t>(total);
}

}  // namespace vitower
