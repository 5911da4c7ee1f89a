#include "model/fingerprint.h"

#include "checkpoint_folder.h"
#include "model/checkpoint.h"
#include "model/random_weights.h"

namespace vitower {
namespace {

std::string Of(const TemporaryFolder& folder, DType dtype = DType::kBf16) {
  const auto checkpoint = OpenCheckpoint(folder.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return Fingerprint(checkpoint->source, dtype, 2);
}

TEST(Fingerprint, IsOfTheTowerNotOfTheFiles) {
  const std::string expected = Of(CheckpointFolder());
  EXPECT_EQ(expected.size(), 64U);
  CheckpointRecipe recipe;
  recipe.shards = 3;
  EXPECT_EQ(Of(CheckpointFolder(recipe)), expected);
  recipe.shards = 1;
  recipe.prefix = "vision_tower.";
  EXPECT_EQ(Of(CheckpointFolder(recipe)), expected);
  const CheckpointFolder linear;
  linear.EditTensors([](LooseTensors& tensors) {
    tensors["model.visual.patch_embed.proj.weight"].shape = {128, 1536};
  });
  EXPECT_EQ(Of(linear), expected);
  const auto random = RandomTower({}, 2);
  ASSERT_TRUE(random.ok());
  EXPECT_EQ(Fingerprint(*random, DType::kBf16, 1), expected);
}

TEST(Fingerprint, ChangesWithWhatDecidesTheAnswers) {
  const CheckpointFolder folder;
  const std::string expected = Of(folder);
  EXPECT_NE(Of(folder, DType::kFp32), expected);
  folder.EditJson("preprocessor_config.json", [](nlohmann::json& root) { root["max_pixels"] = 1310720; });
  const std::string other_limits = Of(folder);
  EXPECT_NE(other_limits, expected);
  folder.EditJson("video_preprocessor_config.json", [](nlohmann::json& root) { root["fps"] = 1; });
  const std::string other_sampling = Of(folder);
  EXPECT_NE(other_sampling, other_limits);
  std::filesystem::remove(folder / "video_preprocessor_config.json");
  EXPECT_NE(Of(folder), other_limits);
  EXPECT_NE(Of(folder), other_sampling);
  folder.EditTensors(
      [](LooseTensors& tensors) { tensors["model.visual.blocks.1.norm1.bias"].bytes[3] ^= std::byte{1}; });
  EXPECT_NE(Of(folder), other_limits);
  CheckpointRecipe recipe;
  recipe.seed = 1;
  EXPECT_NE(Of(CheckpointFolder(recipe)), expected);
}

}  // namespace
}  // namespace vitower
