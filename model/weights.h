// private header
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "model/linear.h"
#include "model/tower_source.h"

namespace vitower {

// Hands a tower's tensors out as torch's, each once, and lets go of the stored one. Names are the checkpoint's.
class Weights final {
 public:
  Weights(std::vector<TowerTensor> tensors, at::ScalarType dtype);

  // A contiguous copy in the tower's dtype. REQUIRES: `name` is one of TowerTensors() and was not taken before.
  at::Tensor Take(const std::string& name);
  // From scope.weight and scope.bias.
  Linear TakeLinear(const std::string& scope);

  at::ScalarType dtype() const { return dtype_; }
  int64_t taken_bytes() const { return taken_bytes_; }  // in the tower's dtype

 private:
  TowerTensor Remove(const std::string& name);

  const at::ScalarType dtype_;
  std::map<std::string, TowerTensor> tensors_;
  int64_t taken_bytes_ = 0;
};

}  // namespace vitower
