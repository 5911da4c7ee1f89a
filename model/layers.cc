#include "model/layers.h"

#include <ATen/Parallel.h>
#include <ATen/ops/layer_norm.h>

#include "model/row_kernels.h"

namespace vitower {
namespace {

constexpr double kEpsilon = 1e-6;
constexpr int64_t kRowsPerTask = 16;

// Turns q and k where they are, inside the packed qkv.
void Rotate(at::Tensor& qkv, const at::Tensor& rotary, RotaryShape shape) {
  const int64_t width = qkv.size(1);
  const float* table = rotary.const_data_ptr<float>();
  const auto rotate = [&](auto* rows) {
    at::parallel_for(0, qkv.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
      RotateRows(rows + begin * width, table + begin * shape.head_dim, end - begin, shape);
    });
  };
  if (qkv.scalar_type() == at::kFloat) {
    rotate(qkv.mutable_data_ptr<float>());
  } else {
    rotate(static_cast<Bf16*>(qkv.mutable_data_ptr()));
  }
}

}  // namespace

LayerNorm::LayerNorm(Weights& weights, const std::string& scope)
    : weight_(weights.Take(scope + ".weight")), bias_(weights.Take(scope + ".bias")) {}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  return at::layer_norm(x, weight_.sizes(), weight_, bias_, kEpsilon);
}

Block::Block(Weights& weights, const std::string& scope, const TowerConfig& tower)
    : heads_(tower.num_heads),
      head_dim_(tower.head_dim()),
      norm1_(weights, scope + ".norm1"),
      qkv_(weights.TakeLinear(scope + ".attn.qkv")),
      proj_(weights.TakeLinear(scope + ".attn.proj")),
      norm2_(weights, scope + ".norm2"),
      fc1_(weights.TakeLinear(scope + ".mlp.linear_fc1")),
      fc2_(weights.TakeLinear(scope + ".mlp.linear_fc2")) {}

at::Tensor Block::Attention(const at::Tensor& x, const PackedBatch& batch) const {
  at::Tensor qkv = qkv_(norm1_(x));
  Rotate(qkv, batch.rotary, {heads_, head_dim_});
  return Attend(qkv, batch.runs, heads_, head_dim_);
}

at::Tensor Block::operator()(const at::Tensor& x, const PackedBatch& batch) const {
  const at::Tensor attended = proj_.Plus(Attention(x, batch), x);
  return fc2_.Plus(fc1_.WithTanhGelu(norm2_(attended)), attended);
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
