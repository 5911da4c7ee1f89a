#include "model/encoder.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>

#include "checkpoint_folder.h"
#include "frames_maker.h"
#include "gmock/gmock.h"
#include "patches_maker.h"
#include "tiny_encoder.h"

namespace vitower {
namespace {

// Images, clips and patches of every dtype, 21 in all.
struct MixedItems {
  MixedItems() {
    for (uint32_t i = 0; i < 14; ++i) frames.push_back(RandomClip(1 + i % 5, 2 + 2 * (i % 4), 2 + 2 * (i % 3), i));
    for (uint32_t i = 0; i < 7; ++i) {
      const DType dtype = i % 3 == 0 ? DType::kFp32 : i % 3 == 1 ? DType::kFp16 : DType::kBf16;
      patches.push_back(PatchesOf(RandomClip(1 + i % 4, 2 + 2 * (i % 2), 4, 100 + i), dtype));
    }
  }
  std::vector<TowerInput> Shuffled() const {
    std::vector<TowerInput> order;
    for (const Frames& item : frames) order.emplace_back(&item);
    for (const PatchRows& item : patches) order.emplace_back(&item);
    std::shuffle(order.begin(), order.end(), std::mt19937(5));
    return order;
  }

  std::vector<Frames> frames;
  std::vector<PatchRows> patches;
};

// The largest difference, over items and outputs, between an item in a shuffled batch and alone.
double BatchAgainstSingle(DType dtype) {
  const auto encoder = TinyEncoder(dtype);
  const MixedItems items;
  const std::vector<TowerInput> order = items.Shuffled();
  const EncodedBatch batch = Encode(*encoder, order);
  double worst = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    EXPECT_EQ(batch.token_offsets[i + 1] - batch.token_offsets[i], GridOf(order[i]).patches() / 4);
    worst = std::max(worst, RelL2(RowsOf(batch, i), RowsOf(Encode(*encoder, {order[i]}), 0)));
  }
  return worst;
}

TEST(Encoder, ItemsDoNotDependOnTheirNeighboursInFp32) {
  const double worst = BatchAgainstSingle(DType::kFp32);
  std::cout << "fp32, mixed batch against single: relL2 " << worst << "\n";
  EXPECT_LE(worst, 1e-6);
}

TEST(Encoder, ItemsDoNotDependOnTheirNeighboursInBf16) {
  const double worst = BatchAgainstSingle(DType::kBf16);
  std::cout << "bf16, mixed batch against single: relL2 " << worst << "\n";
  EXPECT_LE(worst, 5e-3);  // half the noise of bf16 against fp32
}

TEST(Encoder, OnlyWantedOutputsAreComputed) {
  std::vector<std::string> stages;
  const auto encoder = TinyEncoder(DType::kFp32, [&](std::string_view name, int64_t, int64_t, absl::Span<const float>) {
    stages.emplace_back(name);
  });
  const Frames item = RandomStill(4, 4, 1);
  const EncodedBatch some = Encode(*encoder, {&item}, {false, {false, true, false}});
  EXPECT_EQ(some.tokens.rows, 0);
  EXPECT_EQ(some.deepstack[0].rows, 0);
  EXPECT_EQ(some.deepstack[1].rows, 4);
  EXPECT_EQ(some.deepstack[2].rows, 0);
  EXPECT_THAT(stages, ::testing::ElementsAre("pixel_values", "patch_embed", "position", "block_0", "block_1", "block_2",
                                             "deepstack_1", "block_3"));
  const EncodedBatch all = Encode(*encoder, {&item});
  EXPECT_EQ(Rows(all.deepstack[1], 0, 4), Rows(some.deepstack[1], 0, 4));
}

TEST(Encoder, OutputsOutliveTheEncoder) {
  auto encoder = TinyEncoder(DType::kFp32);
  const Frames item = RandomClip(4, 4, 6, 1);
  const EncodedBatch batch = Encode(*encoder, {&item});
  encoder.reset();
  EXPECT_EQ(batch.tokens.rows, 12);
  EXPECT_EQ(batch.tokens.cols, 96);
  for (const float value : Rows(batch.tokens, 0, 12)) ASSERT_TRUE(std::isfinite(value));
}

TEST(Encoder, ItemsThatDoNotFitAreTheCallersFault) {
  const auto encoder = TinyEncoder(DType::kBf16);
  Frames item = RandomStill(4, 4, 1);
  item.grid.h = 6;
  const std::vector<TowerInput> items = {&item};
  EXPECT_EQ(encoder->Forward(items, kAllOutputs).status().code(), absl::StatusCode::kInvalidArgument);
  const PatchRows patches{std::string(1536, 'x'), DType::kFp32, {1, 2, 2}};
  EXPECT_EQ(encoder->Forward({&patches}, kAllOutputs).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(encoder->Forward({}, kAllOutputs).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(encoder->Forward(items, {true, {}}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Encoder, StageTimesAreOfThisPass) {
  const auto encoder = TinyEncoder(DType::kBf16);
  const Frames item = RandomStill(14, 14, 1);
  const auto begin = std::chrono::steady_clock::now();
  const ForwardTimes times = Encode(*encoder, {&item}).times;
  const auto elapsed = std::chrono::steady_clock::now() - begin;
  for (const auto stage : {times.upload, times.patch_embed, times.position, times.blocks, times.merger}) {
    EXPECT_GT(stage.count(), 0);
  }
  EXPECT_LE(times.upload + times.patch_embed + times.position + times.blocks + times.merger + times.download, elapsed);
}

TEST(Encoder, WeightsOfAFolderAreThoseOfItsRecipe) {
  CheckpointRecipe recipe;
  recipe.shards = 2;
  const CheckpointFolder folder(recipe);
  LoadOptions options;
  options.model = folder.path().string() + "/";
  const auto loaded = LoadEncoder(options);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto drawn = TinyEncoder(DType::kBf16);
  EXPECT_EQ((*loaded)->info().fingerprint, drawn->info().fingerprint);
  EXPECT_EQ((*loaded)->info().name, folder.path().filename().string());
  EXPECT_EQ((*loaded)->info().dtype, DType::kBf16);
  const Frames item = RandomStill(4, 4, 2);
  EXPECT_EQ(Rows(Encode(**loaded, {&item}).tokens, 0, 4), Rows(Encode(*drawn, {&item}).tokens, 0, 4));
}

TEST(Encoder, WrongSetUpIsRefusedByOption) {
  const auto refusal = [](const LoadOptions& options) { return std::string(LoadEncoder(options).status().message()); };
  LoadOptions options;
  options.model = "random:7b";
  EXPECT_THAT(refusal(options), ::testing::HasSubstr("unknown shape \"7b\""));
  options.model = "random:tiny";
  options.device = "gpu:0";
  EXPECT_THAT(refusal(options), ::testing::HasSubstr("device is \"gpu:0\", expected"));
  options.device = "cpu";
  options.threads = 0;
  EXPECT_THAT(refusal(options), ::testing::HasSubstr("threads is 0, expected 1 or more"));
}

// Sanitizers reserve more address space than any limit leaves.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void LimitAddressSpace(int64_t more_bytes) {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit limit{};
  getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE) + more_bytes);
  setrlimit(RLIMIT_AS, &limit);
}

TEST(EncoderDeathTest, RandomWeightsThatMemoryCannotHoldAreRefused) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto load = [] {
    LimitAddressSpace(/*more_bytes=*/96 << 20);
    LoadOptions options;
    options.model = "random:32b";
    options.threads = 2;
    const auto encoder = LoadEncoder(options);
    std::cerr << encoder.status() << std::endl;
    std::_Exit(encoder.ok() ? 1 : 0);
  };
  EXPECT_EXIT(load(), testing::ExitedWithCode(0), "RESOURCE_EXHAUSTED: random:32b: out of memory");
}

TEST(EncoderDeathTest, ABatchThatMemoryCannotHoldIsRefusedAsThatAndASmallerOnePasses) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto run = [] {
    const auto encoder = TinyEncoder(DType::kBf16);
    const Frames item = RandomStill(16, 16, 1);
    Encode(*encoder, {&item});
    LimitAddressSpace(/*more_bytes=*/64 << 20);
    const std::vector<TowerInput> many(256, &item);  // 200 MB of patches
    std::cerr << encoder->Forward(many, kAllOutputs).status() << std::endl;
    std::_Exit(encoder->Forward({&item}, kAllOutputs).ok() ? 0 : 1);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0), "RESOURCE_EXHAUSTED: forward pass: .*memory");
}
#endif

}  // namespace
}  // namespace vitower
