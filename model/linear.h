// private header
#pragma once

#include <ATen/core/Tensor.h>

namespace vitower {

// A Linear for inference, weight [out, in] and bias [out] of one dtype: x [rows, in] -> [rows, out]. Holds the weight
// once, in oneDNN's blocked layout where that is allowed and this build and machine have the operators for it (looked
// up and tried at the first construction), else as it came and run by at::linear. Const calls are thread-safe. Throws
// c10::Error.
class Linear final {
 public:
  enum class Packing { kAllowed, kNone };

  Linear() = default;
  // Copies `weight` if it packs it; `weight` must outlive the Linear if it does not (see KeepsWeight).
  Linear(const at::Tensor& weight, at::Tensor bias, Packing packing = Packing::kAllowed);

  // Whether a Linear of this dtype that may pack goes on using the tensor that it was made from.
  static bool KeepsWeight(at::ScalarType dtype);

  at::Tensor operator()(const at::Tensor& x) const;
  at::Tensor WithTanhGelu(const at::Tensor& x) const;                      // gelu(linear(x)), tanh approximation
  at::Tensor WithErfGelu(const at::Tensor& x) const;                       // gelu(linear(x)), exact
  at::Tensor Plus(const at::Tensor& x, const at::Tensor& residual) const;  // residual + linear(x)

 private:
  at::Tensor weight_;
  at::Tensor bias_;
  bool packed_ = false;
};

}  // namespace vitower
