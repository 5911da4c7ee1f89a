#include "model/weights.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cstdint>
#include <cstring>
#include <utility>

namespace vitower {
namespace {

at::ScalarType ScalarType(const std::string& dtype) {
  return dtype == "F32" ? at::kFloat : dtype == "F16" ? at::kHalf : at::kBFloat16;
}

// The stored bytes as a tensor: a view where they are aligned, else a copy.
at::Tensor View(const TowerTensor& tensor) {
  const at::ScalarType dtype = ScalarType(tensor.dtype);
  void* bytes = const_cast<std::byte*>(tensor.bytes.data());
  if (reinterpret_cast<uintptr_t>(bytes) % c10::elementSize(dtype) == 0) {
    return at::from_blob(bytes, tensor.shape, at::TensorOptions(dtype));
  }
  at::Tensor copy = at::empty(tensor.shape, at::TensorOptions(dtype));
  std::memcpy(copy.data_ptr(), bytes, tensor.bytes.size());
  return copy;
}

}  // namespace

Weights::Weights(std::vector<TowerTensor> tensors, at::ScalarType dtype) : dtype_(dtype) {
  for (TowerTensor& tensor : tensors) {
    std::string name = tensor.name;
    tensors_.emplace(std::move(name), std::move(tensor));
  }
}

TowerTensor Weights::Remove(const std::string& name) {
  auto node = tensors_.extract(name);
  TORCH_CHECK(!node.empty(), "tensor ", name, " is not there, or was taken before");
  return std::move(node.mapped());
}

at::Tensor Weights::Take(const std::string& name) {
  const TowerTensor tensor = Remove(name);
  at::Tensor copy = View(tensor).to(dtype_, /*non_blocking=*/false, /*copy=*/true);
  taken_bytes_ += static_cast<int64_t>(copy.nbytes());
  return copy;
}

Linear Weights::TakeLinear(const std::string& scope) {
  const at::Tensor bias = Take(scope + ".bias");
  if (Linear::KeepsWeight(dtype_)) return {Take(scope + ".weight"), bias};
  const TowerTensor tensor = Remove(scope + ".weight");
  const at::Tensor weight = View(tensor).to(dtype_);
  taken_bytes_ += static_cast<int64_t>(weight.nbytes());
  return {weight, bias};  // a copy
}

}  // namespace vitower
