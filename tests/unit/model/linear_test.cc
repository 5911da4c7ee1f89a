#include "model/linear.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cmath>

#include "gtest/gtest.h"

namespace vitower {
namespace {

constexpr int64_t kHidden = 160;
constexpr int64_t kPatches = 77;

struct PatchEmbedding {
  at::Tensor conv_weight = at::randn({kHidden, 3, 2, 16, 16}) / std::sqrt(1536.0);
  at::Tensor bias = at::randn({kHidden}) * 0.1;
  at::Tensor pixels = at::rand({kPatches, 1536}) * 2 - 1;

  at::Tensor Conv(at::ScalarType dtype) const {
    const at::Tensor volumes = pixels.to(dtype).view({kPatches, 3, 2, 16, 16});
    return at::conv3d(volumes, conv_weight.to(dtype), bias.to(dtype), {2, 16, 16}).view({kPatches, kHidden});
  }
  at::Tensor AsLinear(at::ScalarType dtype) const {
    const at::Tensor weight = conv_weight.to(dtype).view({kHidden, 1536});
    return Linear(weight, bias.to(dtype))(pixels.to(dtype));
  }
};

TEST(Linear, IsTheConv3dOfThePatchEmbeddingInFp32) {
  const c10::InferenceMode inference;
  const PatchEmbedding patch;
  const double difference = (patch.AsLinear(at::kFloat) - patch.Conv(at::kFloat)).abs().max().item<double>();
  EXPECT_LT(difference, 1e-5);
}

TEST(Linear, IsTheConv3dOfThePatchEmbeddingInBf16) {
  const c10::InferenceMode inference;
  const PatchEmbedding patch;
  const at::Tensor linear = patch.AsLinear(at::kBFloat16).to(at::kFloat);
  const at::Tensor conv = patch.Conv(at::kBFloat16).to(at::kFloat);
  EXPECT_GT(at::cosine_similarity(linear, conv, 1).min().item<double>(), 0.9999);
  const at::Tensor exact = patch.Conv(at::kFloat);
  EXPECT_LE((linear - exact).norm().item<double>(), 1.05 * (conv - exact).norm().item<double>());
}

TEST(Linear, FusesAreWhatTheyNameInFp32) {
  const c10::InferenceMode inference;
  const at::Tensor weight = at::randn({48, 64}) / 8;
  const at::Tensor bias = at::randn({48});
  const at::Tensor x = at::randn({10, 64});
  const at::Tensor residual = at::randn({10, 48});
  const Linear linear(weight, bias);
  const at::Tensor plain = at::linear(x, weight, bias);
  const auto same = [](const at::Tensor& a, const at::Tensor& b) { return at::allclose(a, b, 1e-5, 1e-5); };
  EXPECT_TRUE(same(linear(x), plain));
  EXPECT_TRUE(same(linear.WithTanhGelu(x), at::gelu(plain, "tanh")));
  EXPECT_TRUE(same(linear.WithErfGelu(x), at::gelu(plain, "none")));
  EXPECT_TRUE(same(linear.Plus(x, residual), residual + plain));
  EXPECT_GT((at::gelu(plain, "tanh") - at::gelu(plain, "none")).abs().max().item<double>(), 1e-5);
}

}  // namespace
}  // namespace vitower
