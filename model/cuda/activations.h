// private header
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/cuda/device_memory.h"
#include "model/cuda/kernels.h"
#include "model/encoder.h"

namespace vitower {

// The memory of one forward pass, for up to so many rows; later passes use it again. Where the pointers are part of a
// graph, Reserve must not be asked for more than it was at first.
class Activations final {
 public:
  Activations(const TowerConfig& tower, Element element);

  void Reserve(int64_t rows, size_t meta_bytes);
  int64_t bytes() const;

  void* x() const { return x_.data(); }            // [rows, hidden_size]: the residual stream
  void* normed() const { return normed_.data(); }  // [rows, hidden_size]: a norm's output, then the attention's
  void* qkv() const { return qkv_.data(); }        // [rows, 3 * hidden_size]
  void* hidden() const { return hidden_.data(); }  // [rows, widest]: pixels, then the MLPs' and mergers' middles
  float* rotary() const { return static_cast<float*>(rotary_.data()); }  // [rows, head_dim]
  const std::byte* meta() const { return static_cast<const std::byte*>(meta_.data()); }
  void* output(size_t i) const { return outputs_[i].data(); }  // [rows / 4, out_hidden_size]: tokens, then each level
  size_t outputs() const { return outputs_.size(); }

 private:
  const TowerConfig tower_;
  const Element element_;
  DeviceBuffer x_;
  DeviceBuffer normed_;
  DeviceBuffer qkv_;
  DeviceBuffer hidden_;
  DeviceBuffer rotary_;
  DeviceBuffer meta_;
  std::vector<DeviceBuffer> outputs_;
};

}  // namespace vitower
