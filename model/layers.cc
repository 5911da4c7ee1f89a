#include "model/layers.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "model/row_kernels.h"

namespace vitower {
namespace {

constexpr float kEpsilon = 1e-6F;
constexpr int64_t kNormRowsPerTask = 8;

}  // namespace

LayerNorm::LayerNorm(Weights& weights, const std::string& scope)
    : dtype_(weights.dtype()),
      weight_(weights.Take(scope + ".weight").to(at::kFloat)),
      bias_(weights.Take(scope + ".bias").to(at::kFloat)) {}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  at::Tensor out = at::empty(x.sizes(), dtype_);
  const int64_t width = x.size(1);
  const RowNorm norm{weight_.const_data_ptr<float>(), bias_.const_data_ptr<float>(), width, kEpsilon};
  const auto normalise = [&](auto* rows) {
    at::parallel_for(0, x.size(0), kNormRowsPerTask, [&](int64_t begin, int64_t end) {
      NormaliseRows(x.const_data_ptr<float>() + begin * width, end - begin, norm, rows + begin * width);
    });
  };
  if (dtype_ == at::kFloat) {
    normalise(out.mutable_data_ptr<float>());
  } else {
    normalise(static_cast<Bf16*>(out.mutable_data_ptr()));
  }
  return out;
}

Block::Block(Weights& weights, const std::string& scope)
    : norm1_(weights, scope + ".norm1"),
      qkv_(weights.TakeLinear(scope + ".attn.qkv")),
      proj_(weights.TakeLinear(scope + ".attn.proj")),
      norm2_(weights, scope + ".norm2"),
      fc1_(weights.TakeLinear(scope + ".mlp.linear_fc1")),
      fc2_(weights.TakeLinear(scope + ".mlp.linear_fc2")) {}

void Block::operator()(const at::Tensor& x, const BatchAttention& attention) const {
  proj_.AddTo(x, attention(qkv_(norm1_(x))));
  fc2_.AddTo(x, fc1_.WithTanhGelu(norm2_(x)));
}

Merger::Merger(Weights& weights, const std::string& scope, Norm norm, const TowerConfig& tower)
    : norm_place_(norm),
      merged_size_(tower.hidden_size * tower.merge_unit()),
      norm_(weights, scope + ".norm"),
      fc1_(weights.TakeLinear(scope + ".linear_fc1")),
      fc2_(weights.TakeLinear(scope + ".linear_fc2")) {}

at::Tensor Merger::operator()(const at::Tensor& x) const {
  const at::Tensor joined =
      norm_place_ == Norm::kPerPatch ? norm_(x).view({-1, merged_size_}) : norm_(x.view({-1, merged_size_}));
  return fc2_(fc1_.WithErfGelu(joined));
}

}  // namespace vitower
