// private header
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "model/attention.h"
#include "model/encoder.h"
#include "model/linear.h"
#include "model/weights.h"

namespace vitower {

// The parts of the tower, each made from the tensors under a scope that is named as in the checkpoint. Const calls are
// thread-safe. Rows are packed over all items of a batch. The residual stream x [rows, hidden_size] is fp32 whatever
// the tower's dtype: the Linears add to it without rounding, and LayerNorm reads it.

class LayerNorm final {
 public:
  LayerNorm(Weights& weights, const std::string& scope);
  at::Tensor operator()(const at::Tensor& x) const;  // to the tower's dtype

 private:
  const at::ScalarType dtype_;
  at::Tensor weight_;  // fp32
  at::Tensor bias_;
};

class Block final {
 public:
  Block(Weights& weights, const std::string& scope);
  void operator()(const at::Tensor& x, const BatchAttention& attention) const;  // x in place

 private:
  LayerNorm norm1_;
  Linear qkv_;
  Linear proj_;
  LayerNorm norm2_;
  Linear fc1_;
  Linear fc2_;
};

// Four patches to one token: [rows, hidden_size] -> [rows / 4, out_hidden_size].
class Merger final {
 public:
  enum class Norm { kPerPatch, kPerToken };  // before the four are joined (main merger), or after (DeepStack)

  Merger(Weights& weights, const std::string& scope, Norm norm, const TowerConfig& tower);
  at::Tensor operator()(const at::Tensor& x) const;

 private:
  const Norm norm_place_;
  const int64_t merged_size_;
  LayerNorm norm_;
  Linear fc1_;
  Linear fc2_;
};

}  // namespace vitower
