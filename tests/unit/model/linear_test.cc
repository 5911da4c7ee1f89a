#include "model/linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <filesystem>
#include <iterator>
#include <limits>
#include <string>
#include <tuple>

#include "gtest/gtest.h"

namespace vitower {
namespace {

constexpr int64_t kOut = 180;  // no multiple of a panel
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
class Fuses : public testing::TestWithParam<std::tuple<Linear::Path, at::ScalarType, int64_t>> {
 protected:
  const c10::InferenceMode inference_;
  const at::ScalarType dtype_ = std::get<1>(GetParam());
  const int64_t rows_ = std::get<2>(GetParam());
  const at::Tensor weight_ = (at::randn({kOut, 64}) / 8).to(dtype_);
  const at::Tensor bias_ = at::randn({kOut}).to(dtype_);
  const at::Tensor x_ = at::randn({rows_, 64}).to(dtype_);
  const at::Tensor stream_ = at::randn({rows_, kOut});
  const at::Tensor plain_ = at::linear(x_.to(at::kDouble), weight_.to(at::kDouble), bias_.to(at::kDouble));
  const Linear linear_{weight_, bias_, std::get<0>(GetParam())};

  void ExpectNear(const at::Tensor& value, const at::Tensor& expected) const {
    EXPECT_EQ(value.sizes(), expected.sizes());
    const double error = ((value.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
    EXPECT_LT(error, dtype_ == at::kFloat ? 2e-6 : 5e-3);
  }
};

TEST_P(Fuses, AreWhatTheyName) {
  EXPECT_EQ(linear_(x_).scalar_type(), dtype_);
  ExpectNear(linear_(x_), plain_);
  ExpectNear(linear_.WithTanhGelu(x_), at::gelu(plain_, "tanh"));
  ExpectNear(linear_.WithErfGelu(x_), at::gelu(plain_, "none"));
  EXPECT_EQ(linear_.InFp32(x_).scalar_type(), at::kFloat);
  ExpectNear(linear_.InFp32(x_), plain_);
  const at::Tensor stream = stream_.clone();
  linear_.AddTo(stream, x_);
  ExpectNear(stream, stream_.to(at::kDouble) + plain_);
  const at::Tensor erf = at::gelu(plain_, "none");
  EXPECT_GT(((at::gelu(plain_, "tanh") - erf).norm() / erf.norm()).item<double>(), 1e-4);
}

TEST_P(Fuses, KeepsNanToItsRow) {
  x_[rows_ - 1][3] = std::numeric_limits<float>::quiet_NaN();
  for (const at::Tensor& out : {linear_(x_), linear_.WithTanhGelu(x_), linear_.WithErfGelu(x_), linear_.InFp32(x_)}) {
    EXPECT_TRUE(out[rows_ - 1].isnan().all().item<bool>());
    EXPECT_FALSE(out.narrow(0, 0, rows_ - 1).isnan().any().item<bool>());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Linear, Fuses,
    testing::Combine(testing::Values(Linear::Path::kBest, Linear::Path::kOneDnn, Linear::Path::kTorch),
                     testing::Values(at::kFloat, at::kBFloat16), testing::Values(1, 5, 7, 530)),
    [](const auto& one) {
      const Linear::Path path = std::get<0>(one.param);
      const bool fp32 = std::get<1>(one.param) == at::kFloat;
      const char* name = path == Linear::Path::kBest ? "Best" : path == Linear::Path::kOneDnn ? "OneDnn" : "Torch";
      return name + std::string(fp32 ? "Fp32_" : "Bf16_") + std::to_string(std::get<2>(one.param));
    });

// A kernel alone, whether it would be chosen here or not.
class EachLinearKernel : public testing::TestWithParam<const LinearKernel*> {};

TEST_P(EachLinearKernel, GiveWhatTheFormulaSays) {
  const c10::InferenceMode inference;
  const LinearKernel& kernel = *GetParam();
  if (!kernel.supported()) return;  // others run it
  const at::ScalarType dtype = kernel.bf16 ? at::kBFloat16 : at::kFloat;
  const int64_t columns = kernel.panel - 3;
  const at::Tensor weight = (at::randn({columns, 96}) / 9).to(dtype);
  const at::Tensor bias = at::randn({columns});
  const at::Tensor x = at::randn({13, 96}).to(dtype);
  const at::Tensor out = at::full({13, columns + 1}, 7.0F);
  const at::Tensor packed = at::empty({kernel.panel * 96}, at::kInt);
  auto* panel = reinterpret_cast<uint32_t*>(packed.mutable_data_ptr<int32_t>());
  kernel.pack_panel(weight.const_data_ptr(), columns, 96, 0, panel);
  kernel.run({x.const_data_ptr(), 13, 96, panel, bias.const_data_ptr<float>(), columns, LinearEnd::kStoreFp32,
              out.mutable_data_ptr(), columns + 1});
  const at::Tensor expected = at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
  EXPECT_LT((out.narrow(1, 0, columns) - expected).abs().max().item<double>(), 1e-5);
  EXPECT_TRUE(out.select(1, columns).eq(7).all().item<bool>());  // not touched
}

INSTANTIATE_TEST_SUITE_P(Each, EachLinearKernel, testing::ValuesIn(LinearKernels().begin(), LinearKernels().end()),
                         [](const auto& one) { return std::string(one.param->name); });

// A suite of its own: alone in its process, as ctest runs a suite, this is the first to need a second thread.
TEST(LinearThreads, AreAllOfThePool) {
  const c10::InferenceMode inference;
  Linear(at::randn({256, 64}), at::zeros({256}))(at::randn({64, 64}));
  const auto tasks = std::filesystem::directory_iterator("/proc/self/task");
  EXPECT_GE(std::distance(begin(tasks), end(tasks)), at::get_num_threads());
}

TEST(Linear, KeepsRunningWhenTheWeightItWasMadeFromIsGone) {
  const c10::InferenceMode inference;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    if (Linear::KeepsWeight(dtype)) continue;
    at::Tensor weight = at::randn({32, 63}).to(dtype);  // of odd width: not every kernel takes it
    const at::Tensor x = at::randn({9, 63}).to(dtype);
    const at::Tensor bias = at::zeros({32}, dtype);
    const Linear linear(weight, bias);
    const at::Tensor before = linear(x);
    weight.fill_(3);
    EXPECT_TRUE(at::equal(linear(x), before));
  }
}

}  // namespace
}  // namespace vitower
