#include "model/make_checkpoint.h"

#include <algorithm>
#include <cmath>

#include "checkpoint_folder.h"
#include "gmock/gmock.h"
#include "model/bf16.h"
#include "model/random_weights.h"

namespace vitower {
namespace {

using ::testing::HasSubstr;

struct Moments {
  double mean = 0;
  double deviation = 0;
};

Moments MomentsOf(const float* values, int64_t count) {
  double sum = 0;
  double squares = 0;
  for (int64_t i = 0; i < count; ++i) {
    sum += values[i];
    squares += static_cast<double>(values[i]) * values[i];
  }
  const double mean = sum / static_cast<double>(count);
  return {mean, std::sqrt(squares / static_cast<double>(count) - mean * mean)};
}

// Mean and deviation of the first `count` values of a drawn tensor (0: of all).
Moments Drawn(const std::string& name, int64_t first, int64_t count, bool outliers = false) {
  const auto tower = NamedShape("tiny");
  const RandomWeights weights(*tower, DType::kFp32, /*seed=*/3, outliers);
  for (const TensorSpec& spec : TowerTensors(*tower)) {
    if (spec.name != name) continue;
    const TowerTensor tensor = weights.Draw(spec);
    const auto* values = reinterpret_cast<const float*>(tensor.bytes.data());
    return MomentsOf(values + first, count > 0 ? count : static_cast<int64_t>(tensor.bytes.size()) / 4);
  }
  ADD_FAILURE() << name;
  return {};
}

TEST(MakeCheckpoint, WeightsAreDrawnSoThatEveryPartMatters) {
  const auto near = [](const Moments& moments, double mean, double deviation, double tolerance) {
    EXPECT_NEAR(moments.mean, mean, tolerance);
    EXPECT_NEAR(moments.deviation, deviation, tolerance);
  };
  near(Drawn("pos_embed.weight", 0, 0), 0, 0.5, 3e-3);
  near(Drawn("patch_embed.proj.weight", 0, 0), 0, 1 / std::sqrt(1536.0), 2e-4);
  near(Drawn("merger.linear_fc1.bias", 0, 0), 0, 0.1, 2e-2);
  near(Drawn("merger.norm.weight", 0, 0), 1, 0.1, 5e-2);
  near(Drawn("blocks.0.attn.qkv.weight", 0, 2 * 128 * 128), 0, 1.4 / std::sqrt(128.0), 2e-3);
  near(Drawn("blocks.0.attn.qkv.weight", 2 * 128 * 128, 128 * 128), 0, 1 / std::sqrt(128.0), 2e-3);
}

TEST(MakeCheckpoint, EqualRecipesGiveEqualBytes) {
  CheckpointRecipe recipe;
  recipe.seed = 11;
  const CheckpointFolder a(recipe);
  const CheckpointFolder b(recipe);
  EXPECT_EQ(ReadText(a / "model.safetensors"), ReadText(b / "model.safetensors"));
  recipe.seed = 12;
  EXPECT_NE(ReadText(CheckpointFolder(recipe) / "model.safetensors"), ReadText(a / "model.safetensors"));
}

TEST(MakeCheckpoint, ThreadsDoNotChangeTheBytes) {
  CheckpointRecipe recipe;
  recipe.threads = 3;
  EXPECT_EQ(ReadText(CheckpointFolder(recipe) / "model.safetensors"),
            ReadText(CheckpointFolder() / "model.safetensors"));
}

TEST(MakeCheckpoint, ProcessorFilesAreTheHubs) {
  const CheckpointFolder folder;
  nlohmann::json expected = {{"size", {{"longest_edge", 25165824}, {"shortest_edge", 4096}}},
                             {"patch_size", 16},
                             {"temporal_patch_size", 2},
                             {"merge_size", 2},
                             {"image_mean", {0.5, 0.5, 0.5}},
                             {"image_std", {0.5, 0.5, 0.5}},
                             {"processor_class", "Qwen3VLProcessor"},
                             {"video_processor_type", "Qwen3VLVideoProcessor"}};
  EXPECT_EQ(nlohmann::json::parse(ReadText(folder / "video_preprocessor_config.json")), expected);
  expected.erase("video_processor_type");
  expected["image_processor_type"] = "Qwen2VLImageProcessorFast";
  expected["size"] = {{"longest_edge", 16777216}, {"shortest_edge", 65536}};
  EXPECT_EQ(nlohmann::json::parse(ReadText(folder / "preprocessor_config.json")), expected);
}

TEST(MakeCheckpoint, OutliersLiftChannelsAndOneHiddenUnit) {
  const auto tower = NamedShape("tiny");
  const RandomWeights weights(*tower, DType::kBf16, 0, /*outliers=*/true);
  const auto largest = [&](const TensorSpec& spec) {
    const TowerTensor tensor = weights.Draw(spec);
    const auto* values = reinterpret_cast<const Bf16*>(tensor.bytes.data());
    float value = 0;
    for (size_t i = 0; i < tensor.bytes.size() / 2; ++i) value = std::max(value, std::abs(ToFloat(values[i])));
    return value;
  };
  EXPECT_EQ(largest({"blocks.1.mlp.linear_fc2.bias", {128}}), 3072);
  EXPECT_LT(largest({"blocks.0.mlp.linear_fc2.bias", {128}}), 1);
  EXPECT_GT(largest({"blocks.3.mlp.linear_fc1.bias", {256}}), 65504);
}

TEST(MakeCheckpoint, FolderThatHoldsOneIsLeftAlone) {
  const CheckpointFolder folder;
  EXPECT_EQ(WriteRandomCheckpoint(folder.path(), {}).code(), absl::StatusCode::kAlreadyExists);
}

TEST(MakeCheckpoint, UnknownShapeIsAnsweredWithTheNames) {
  EXPECT_THAT(std::string(NamedShape("7b").status().message()), HasSubstr("2b, 4b, 8b, 32b, tiny"));
  CheckpointRecipe recipe;
  recipe.dtype = DType::kFp16;
  const TemporaryFolder folder;
  EXPECT_EQ(WriteRandomCheckpoint(folder / "x", recipe).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(folder / "x"));
}

}  // namespace
}  // namespace vitower
