// private header
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "model/attention.h"
#include "model/encoder.h"
#include "model/linear.h"
#include "model/weights.h"

namespace vitower {

// The parts of the tower, each made from the tensors under a scope that is named as in the checkpoint. Const calls are
// thread-safe. Rows are packed over all items of a batch: x [rows, hidden_size].

class LayerNorm final {
 public:
  LayerNorm(Weights& weights, const std::string& scope);
  at::Tensor operator()(const at::Tensor& x) const;

 private:
  at::Tensor weight_;
  at::Tensor bias_;
};

// What the blocks need to know of a batch.
struct PackedBatch {
  std::vector<SegmentRun> runs;
  at::Tensor rotary;  // [rows, head_dim] fp32, rows of MakeRotaryTable
};

class Block final {
 public:
  Block(Weights& weights, const std::string& scope, const TowerConfig& tower);
  at::Tensor operator()(const at::Tensor& x, const PackedBatch& batch) const;

 private:
  at::Tensor Attention(const at::Tensor& x, const PackedBatch& batch) const;

  const int64_t heads_;
  const int64_t head_dim_;
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
