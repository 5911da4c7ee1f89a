#include "model/linear.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <string>
#include <tuple>

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

// What each call should give for values that a dtype can hold, computed in double; a call that only shares a name with
// it is further away than the tolerance.
class Fuses : public testing::TestWithParam<std::tuple<Linear::Packing, at::ScalarType>> {
 protected:
  const c10::InferenceMode inference_;
  const at::ScalarType dtype_ = std::get<1>(GetParam());
  const at::Tensor weight_ = (at::randn({48, 64}) / 8).to(dtype_);
  const at::Tensor bias_ = at::randn({48}).to(dtype_);
  const at::Tensor x_ = at::randn({200, 64}).to(dtype_);
  const at::Tensor residual_ = at::randn({200, 48}).to(dtype_);
  const at::Tensor plain_ = at::linear(x_.to(at::kDouble), weight_.to(at::kDouble), bias_.to(at::kDouble));
  const Linear linear_{weight_, bias_, std::get<0>(GetParam())};

  void ExpectNear(const at::Tensor& value, const at::Tensor& expected) const {
    EXPECT_EQ(value.scalar_type(), dtype_);
    const double error = ((value.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
    EXPECT_LT(error, dtype_ == at::kFloat ? 2e-6 : 5e-3);
  }
};

TEST_P(Fuses, AreWhatTheyName) {
  ExpectNear(linear_(x_), plain_);
  ExpectNear(linear_.WithTanhGelu(x_), at::gelu(plain_, "tanh"));
  ExpectNear(linear_.WithErfGelu(x_), at::gelu(plain_, "none"));
  ExpectNear(linear_.Plus(x_, residual_), residual_.to(at::kDouble) + plain_);
  const at::Tensor erf = at::gelu(plain_, "none");
  EXPECT_GT(((at::gelu(plain_, "tanh") - erf).norm() / erf.norm()).item<double>(), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Linear, Fuses,
                         testing::Combine(testing::Values(Linear::Packing::kAllowed, Linear::Packing::kNone),
                                          testing::Values(at::kFloat, at::kBFloat16)),
                         [](const auto& one) {
                           const bool packed = std::get<0>(one.param) == Linear::Packing::kAllowed;
                           const bool fp32 = std::get<1>(one.param) == at::kFloat;
                           return std::string(packed ? "Packed" : "AsItCame") + (fp32 ? "Fp32" : "Bf16");
                         });

}  // namespace
}  // namespace vitower
