#include "model/linear.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/add.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>

#include <exception>
#include <optional>
#include <utility>

namespace vitower {
namespace {

// oneDNN's operators as ATen registers them. Called boxed, so that a version with other argument types than another's
// still fits; one that does not fit throws, and PackedWorks says so.
class PackedOps final {
 public:
  static const PackedOps& Get() {
    static const PackedOps ops;
    return ops;
  }
  bool found() const { return pack_ && linear_ && linear_add_; }

  at::Tensor Pack(const at::Tensor& weight) const { return Call(*pack_, {weight, c10::IValue()}); }
  at::Tensor Run(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const char* activation,
                 const char* algorithm) const {
    const c10::List<std::optional<at::Scalar>> none;
    return Call(*linear_, {x, weight, bias, activation, none, algorithm});
  }
  at::Tensor RunAdd(const at::Tensor& x, const at::Tensor& other, const at::Tensor& weight,
                    const at::Tensor& bias) const {
    return Call(*linear_add_, {x, other, weight, bias, "add"});
  }

 private:
  PackedOps()
      : pack_(Find("mkldnn::_reorder_linear_weight", "")),
        linear_(Find("mkldnn::_linear_pointwise", "")),
        linear_add_(Find("mkldnn::_linear_pointwise", "binary")) {}

  static std::optional<c10::OperatorHandle> Find(const char* name, const char* overload) {
    return c10::Dispatcher::singleton().findSchema({name, overload});
  }
  static at::Tensor Call(const c10::OperatorHandle& op, torch::jit::Stack stack) {
    op.callBoxed(stack);
    return stack.front().toTensor();
  }

  const std::optional<c10::OperatorHandle> pack_;
  const std::optional<c10::OperatorHandle> linear_;
  const std::optional<c10::OperatorHandle> linear_add_;
};

// Tries every packed operator on a small problem against at::linear.
bool PackedWorks(at::ScalarType dtype) {
  const PackedOps& ops = PackedOps::Get();
  if (!ops.found()) return false;
  try {
    const at::Tensor x = at::randn({8, 64}).to(dtype);
    const at::Tensor weight = at::randn({32, 64}).div(8).to(dtype);
    const at::Tensor bias = at::randn({32}).to(dtype);
    const at::Tensor other = at::randn({8, 32}).to(dtype);
    const at::Tensor packed = ops.Pack(weight);
    const at::Tensor expected = at::linear(x, weight, bias);
    const double tolerance = dtype == at::kFloat ? 1e-4 : 6e-2;
    const auto same = [&](const at::Tensor& a, const at::Tensor& b) {
      return at::allclose(a, b, tolerance, tolerance);
    };
    return same(ops.Run(x, packed, bias, "none", ""), expected) &&
           same(ops.Run(x, packed, bias, "gelu", "tanh"), at::gelu(expected, "tanh")) &&
           same(ops.Run(x, packed, bias, "gelu", "none"), at::gelu(expected, "none")) &&
           same(ops.RunAdd(x, other, packed, bias), at::add(expected, other));
  } catch (const std::exception&) {  // an operator of another version, or a machine without the instructions
    return false;
  }
}

bool CanPack(at::ScalarType dtype) {
  static const bool float32 = PackedWorks(at::kFloat);
  static const bool bfloat16 = PackedWorks(at::kBFloat16);
  return dtype == at::kFloat ? float32 : dtype == at::kBFloat16 && bfloat16;
}

}  // namespace

Linear::Linear(const at::Tensor& weight, at::Tensor bias, Packing packing) : bias_(std::move(bias)) {
  packed_ = packing == Packing::kAllowed && CanPack(weight.scalar_type());
  weight_ = packed_ ? PackedOps::Get().Pack(weight) : weight;
}

bool Linear::KeepsWeight(at::ScalarType dtype) { return !CanPack(dtype); }

at::Tensor Linear::operator()(const at::Tensor& x) const {
  return packed_ ? PackedOps::Get().Run(x, weight_, bias_, "none", "") : at::linear(x, weight_, bias_);
}

at::Tensor Linear::WithTanhGelu(const at::Tensor& x) const {
  if (packed_) return PackedOps::Get().Run(x, weight_, bias_, "gelu", "tanh");
  return at::gelu(at::linear(x, weight_, bias_), "tanh");
}

at::Tensor Linear::WithErfGelu(const at::Tensor& x) const {
  if (packed_) return PackedOps::Get().Run(x, weight_, bias_, "gelu", "none");
  return at::gelu(at::linear(x, weight_, bias_), "none");
}

at::Tensor Linear::Plus(const at::Tensor& x, const at::Tensor& residual) const {
  if (packed_) return PackedOps::Get().RunAdd(x, residual, weight_, bias_);
  return at::linear(x, weight_, bias_).add_(residual);
}

}  // namespace vitower
