// private header
#pragma once

#include <ATen/core/Tensor.h>

#include "model/linear_kernels.h"

namespace vitower {

// A Linear for inference, weight [out, in] and bias [out] of one dtype: x [rows, in] -> [rows, out]. Holds the weight
// once, packed for what computes: a kernel of our own; else oneDNN, where AMX makes it faster or we have no kernel and
// this build and machine have its operators (looked up and tried at the first construction); else as it came, run by
// at::linear. Const calls are thread-safe and use torch's pool. Throws c10::Error.
class Linear final {
 public:
  enum class Path { kBest, kOneDnn, kTorch };  // later ones for tests: kOneDnn where it can be had

  Linear() = default;
  // Copies `weight` if it packs it; `weight` must outlive the Linear if it does not (see KeepsWeight).
  Linear(const at::Tensor& weight, const at::Tensor& bias, Path path = Path::kBest);

  // Whether a Linear of this dtype goes on using the tensor that it was made from.
  static bool KeepsWeight(at::ScalarType dtype);
  // Whether the libraries that run a Linear of this dtype keep code for every row count that they ever met.
  static bool KeepsCodeByRows(at::ScalarType dtype);

  at::Tensor operator()(const at::Tensor& x) const;
  at::Tensor WithTanhGelu(const at::Tensor& x) const;               // gelu(linear(x)), tanh approximation
  at::Tensor WithErfGelu(const at::Tensor& x) const;                // gelu(linear(x)), exact
  at::Tensor InFp32(const at::Tensor& x) const;                     // linear(x), the sums as they are
  void AddTo(const at::Tensor& stream, const at::Tensor& x) const;  // stream [rows, out] fp32 += linear(x)

 private:
  void Pack(const at::Tensor& weight);
  void RunKernel(const at::Tensor& x, LinearEnd end, const at::Tensor& out) const;
  at::Tensor RunKernel(const at::Tensor& x, LinearEnd end) const;
  at::Tensor RunPlain(const at::Tensor& x) const;
  at::Tensor RunGelu(const at::Tensor& x, LinearEnd end, const char* approximation) const;

  const LinearKernel* kernel_ = nullptr;
  bool onednn_ = false;
  int64_t out_ = 0;
  at::Tensor weight_;  // packed for kernel_: [panels, panel * in / pack] words
  at::Tensor bias_;    // fp32 for kernel_
};

}  // namespace vitower
