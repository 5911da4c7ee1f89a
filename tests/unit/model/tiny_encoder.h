#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "model/bf16.h"
#include "model/load.h"

namespace vitower {

inline std::unique_ptr<Encoder> TinyEncoder(DType dtype, StageObserver observer = {}) {
  LoadOptions options;
  options.model = "random:tiny";
  options.dtype = dtype;
  options.threads = 2;
  options.observer = std::move(observer);
  auto encoder = LoadEncoder(options);
  EXPECT_TRUE(encoder.ok()) << encoder.status();
  return *std::move(encoder);
}

inline const OutputSet kAllOutputs{true, {true, true, true}};

inline EncodedBatch Encode(Encoder& encoder, const std::vector<TowerInput>& items,
                           const OutputSet& wanted = kAllOutputs) {
  auto batch = encoder.Forward(items, wanted);
  EXPECT_TRUE(batch.ok()) << batch.status();
  return *std::move(batch);
}

// Rows [begin, end) as floats.
inline std::vector<float> Rows(const HostTensor& tensor, int64_t begin, int64_t end) {
  std::vector<float> values((end - begin) * tensor.cols);
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t place = static_cast<size_t>(begin * tensor.cols) + i;
    if (tensor.dtype == DType::kFp32) {
      std::memcpy(&values[i], tensor.data.get() + place * 4, 4);
    } else {
      Bf16 bits = 0;
      std::memcpy(&bits, tensor.data.get() + place * 2, 2);
      values[i] = ToFloat(bits);
    }
  }
  return values;
}

// The rows of one item: of the tokens, then of each DeepStack level.
inline std::vector<std::vector<float>> RowsOf(const EncodedBatch& batch, size_t item) {
  const int64_t begin = batch.token_offsets[item];
  const int64_t end = batch.token_offsets[item + 1];
  std::vector<std::vector<float>> outputs = {Rows(batch.tokens, begin, end)};
  for (const HostTensor& level : batch.deepstack) outputs.push_back(Rows(level, begin, end));
  return outputs;
}

inline double RelL2(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  EXPECT_TRUE(std::isfinite(difference) && size > 0);
  return std::sqrt(difference / size);
}

// The worst over all outputs.
inline double RelL2(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, RelL2(a[i], b[i]));
  return worst;
}

}  // namespace vitower
