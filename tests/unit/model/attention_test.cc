#include "model/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"

namespace vitower {
namespace {

constexpr int64_t kHeads = 3;

// Lengths around the sizes that kernels work in, and two alike; 3 rows of padding follow.
const std::vector<SegmentRun> kRuns = {{0, 4, 2},    {8, 1, 1},     {9, 49, 1},   {58, 196, 1},
                                       {254, 47, 1}, {301, 257, 1}, {558, 610, 1}};
constexpr int64_t kUsed = 1168;
constexpr int64_t kRows = kUsed + 3;

struct Batch {
  Batch(int64_t head_dim, at::ScalarType dtype) : shape{kHeads, head_dim} {
    qkv = (at::randn({kRows, 3 * kHeads * head_dim}) * 1.4).to(dtype);
    const at::Tensor angles = at::randn({kRows, head_dim / 2});
    rotary = at::cat({angles.cos(), angles.sin()}, 1).contiguous();
  }

  at::Tensor Run(const AttentionKernel* kernel) const {
    return BatchAttention(kRuns, rotary, shape, kernel)(qkv.clone());
  }

  // By the book, in double.
  at::Tensor Expected() const {
    const at::Tensor parts = qkv.to(at::kDouble).view({kRows, 3, kHeads, shape.head_dim});
    const at::Tensor halves = rotary.to(at::kDouble).view({kRows, 1, 2, shape.head_dim / 2});
    const auto turned = [&](int64_t part) {
      const at::Tensor x = parts.select(1, part).view({kRows, kHeads, 2, shape.head_dim / 2});
      const auto a = x.select(2, 0), b = x.select(2, 1), cosine = halves.select(2, 0), sine = halves.select(2, 1);
      return at::cat({a * cosine - b * sine, b * cosine + a * sine}, 2).transpose(0, 1);
    };
    const at::Tensor q = turned(0), k = turned(1), v = parts.select(1, 2).transpose(0, 1);
    at::Tensor out = at::zeros({kRows, kHeads * shape.head_dim}, at::kDouble);
    for (const SegmentRun& run : kRuns) {
      for (int64_t first = run.first; first < run.first + run.length * run.count; first += run.length) {
        const auto rows = [&](const at::Tensor& x) { return x.narrow(1, first, run.length); };
        const at::Tensor scores = rows(q).matmul(rows(k).transpose(1, 2)) / std::sqrt(shape.head_dim);
        const at::Tensor attended = scores.softmax(-1).matmul(rows(v)).transpose(0, 1);
        out.narrow(0, first, run.length).copy_(attended.reshape({run.length, kHeads * shape.head_dim}));
      }
    }
    return out;
  }

  AttentionShape shape;
  at::Tensor qkv;
  at::Tensor rotary;
};

bool Takes(const AttentionKernel* kernel, at::ScalarType dtype) {
  if (kernel == nullptr) return true;
  return kernel->supported() && (dtype == at::kFloat ? kernel->run_fp32 != nullptr : kernel->run_bf16 != nullptr);
}

std::vector<const AttentionKernel*> Kernels() {
  std::vector<const AttentionKernel*> kernels(AttentionKernels().begin(), AttentionKernels().end());
  kernels.push_back(nullptr);  // torch's own
  return kernels;
}

// Kernel, dtype, head_dim. What this machine cannot run passes without a word: others run it.
class Attention : public testing::TestWithParam<std::tuple<const AttentionKernel*, at::ScalarType, int64_t>> {
 protected:
  const c10::InferenceMode inference_;
  const AttentionKernel* const kernel_ = std::get<0>(GetParam());
  const at::ScalarType dtype_ = std::get<1>(GetParam());
  const Batch batch_{std::get<2>(GetParam()), dtype_};
};

TEST_P(Attention, IsWhatTheFormulaSaysAndZeroBehindTheLastRun) {
  if (!Takes(kernel_, dtype_)) return;
  const int threads = at::get_num_threads();
  at::set_num_threads(batch_.shape.head_dim == 72 ? 9 : 2);  // nine: so many that the longest segment is cut
  const at::Tensor out = batch_.Run(kernel_);
  at::set_num_threads(threads);
  const at::Tensor expected = batch_.Expected();
  const at::Tensor error = (out.to(at::kDouble) - expected).norm(2, 1) / expected.norm(2, 1);
  // Of a row. bf16 rounds the output (1.7e-3) and, in its own kernels, q, k and the weights.
  EXPECT_LT(error.narrow(0, 0, kUsed).max().item<double>(), dtype_ == at::kFloat ? 5e-6 : 2e-2);
  EXPECT_LT((out.to(at::kDouble) - expected).norm().item<double>() / expected.norm().item<double>(),
            dtype_ == at::kFloat ? 1e-6 : 6e-3);
  EXPECT_EQ(out.narrow(0, kUsed, kRows - kUsed).count_nonzero().item<int64_t>(), 0);
}

TEST_P(Attention, NanStaysNanAndInItsSegment) {
  if (!Takes(kernel_, dtype_)) return;
  batch_.qkv[100][kHeads * batch_.shape.head_dim + 1] = std::numeric_limits<float>::quiet_NaN();  // of a key
  const at::Tensor nan = batch_.Run(kernel_).isnan().narrow(1, 0, batch_.shape.head_dim);
  EXPECT_TRUE(nan.narrow(0, 58, 196).all().item<bool>());
  EXPECT_FALSE(nan.narrow(0, 0, 58).any().item<bool>());
  EXPECT_FALSE(nan.narrow(0, 254, kRows - 254).any().item<bool>());
}

TEST_P(Attention, LargeScoresDoNotOverflow) {
  if (!Takes(kernel_, dtype_)) return;
  batch_.qkv.mul_(60);
  EXPECT_TRUE(batch_.Run(kernel_).isfinite().all().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Kernels, Attention,
                         testing::Combine(testing::ValuesIn(Kernels()), testing::Values(at::kFloat, at::kBFloat16),
                                          testing::Values(64, 72, 80)),
                         [](const auto& one) {
                           const AttentionKernel* kernel = std::get<0>(one.param);
                           return std::string(kernel == nullptr ? "torch" : kernel->name) +
                                  (std::get<1>(one.param) == at::kFloat ? "_fp32_" : "_bf16_") +
                                  std::to_string(std::get<2>(one.param));
                         });

TEST(ChooseAttention, TakesWhatTheDtypeAndTheHeadAllow) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const AttentionKernel* kernel = ChooseAttention(dtype, 64);
    EXPECT_TRUE(Takes(kernel, dtype));
    EXPECT_EQ(ChooseAttention(dtype, 8), nullptr);
  }
}

TEST(ChooseAttention, OneDnnsLimitKeepsBf16InstructionsAway) {
  ASSERT_EQ(std::getenv("ONEDNN_MAX_CPU_ISA"), nullptr);
  setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE", 1);
  EXPECT_NE(ChooseAttention(at::kBFloat16, 64), &Avx512Bf16Attention());
  unsetenv("ONEDNN_MAX_CPU_ISA");
}

}  // namespace
}  // namespace vitower
