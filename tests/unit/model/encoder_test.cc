#include "model/encoder.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <numeric>

#include "checkpoint_folder.h"
#include "frames_maker.h"
#include "gmock/gmock.h"
#include "model/bf16.h"
#include "model/load.h"

namespace vitower {
namespace {

std::unique_ptr<Encoder> Tiny(DType dtype, StageObserver observer = {}) {
  LoadOptions options;
  options.model = "random:tiny";
  options.dtype = dtype;
  options.observer = std::move(observer);
  auto encoder = LoadEncoder(options);
  EXPECT_TRUE(encoder.ok()) << encoder.status();
  return *std::move(encoder);
}

std::vector<Frames> MixedItems() {
  std::vector<Frames> items;
  for (uint32_t i = 0; i < 20; ++i) {
    items.push_back(RandomFrames(i % 7 == 6 ? 2 : 1, 2 + 2 * (i % 4), 2 + 2 * (i % 5), i));
  }
  return items;
}

const OutputSet kAll{true, {true, true, true}};

EncodedBatch Encode(Encoder& encoder, const std::vector<const Frames*>& items, const OutputSet& wanted = kAll) {
  auto batch = encoder.Forward(items, wanted);
  EXPECT_TRUE(batch.ok()) << batch.status();
  return *std::move(batch);
}

// Rows [begin, end) as floats.
std::vector<float> Rows(const HostTensor& tensor, int64_t begin, int64_t end) {
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

double RelL2(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / size);
}

// The largest difference, over items and outputs, between an item in a shuffled batch of 20 and alone.
double BatchAgainstSingle(DType dtype) {
  const auto encoder = Tiny(dtype);
  const std::vector<Frames> items = MixedItems();
  std::vector<const Frames*> order;
  for (const Frames& item : items) order.push_back(&item);
  std::shuffle(order.begin(), order.end(), std::mt19937(5));
  const EncodedBatch batch = Encode(*encoder, order);
  double worst = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const EncodedBatch single = Encode(*encoder, {order[i]});
    const int64_t begin = batch.token_offsets[i];
    const int64_t end = batch.token_offsets[i + 1];
    EXPECT_EQ(end - begin, order[i]->grid.patches() / 4);
    worst = std::max(worst, RelL2(Rows(batch.tokens, begin, end), Rows(single.tokens, 0, end - begin)));
    for (int level = 0; level < 3; ++level) {
      worst = std::max(worst,
                       RelL2(Rows(batch.deepstack[level], begin, end), Rows(single.deepstack[level], 0, end - begin)));
    }
  }
  return worst;
}

TEST(Encoder, ItemsDoNotDependOnTheirNeighboursInFp32) { EXPECT_LE(BatchAgainstSingle(DType::kFp32), 1e-6); }

TEST(Encoder, ItemsDoNotDependOnTheirNeighboursInBf16) {
  const double worst = BatchAgainstSingle(DType::kBf16);
  std::cout << "bf16, batch of 20 against single: relL2 " << worst << "\n";
  EXPECT_LE(worst, 5e-3);  // half the noise of bf16 against fp32
}

TEST(Encoder, OnlyWantedOutputsAreComputed) {
  std::vector<std::string> stages;
  const auto encoder = Tiny(DType::kFp32, [&](std::string_view name, int64_t, int64_t, absl::Span<const float>) {
    stages.emplace_back(name);
  });
  const Frames item = RandomFrames(1, 4, 4, 1);
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
  auto encoder = Tiny(DType::kFp32);
  const Frames item = RandomFrames(2, 4, 6, 1);
  const EncodedBatch batch = Encode(*encoder, {&item});
  encoder.reset();
  EXPECT_EQ(batch.tokens.rows, 12);
  EXPECT_EQ(batch.tokens.cols, 96);
  for (const float value : Rows(batch.tokens, 0, 12)) ASSERT_TRUE(std::isfinite(value));
}

TEST(Encoder, StillIsAClipOfTwoEqualFrames) {
  const auto encoder = Tiny(DType::kFp32);
  const Frames still = RandomFrames(1, 4, 6, 9);
  Frames clip = still;
  clip.frame_count = 2;
  clip.rgb.insert(clip.rgb.end(), still.rgb.begin(), still.rgb.end());
  const EncodedBatch a = Encode(*encoder, {&still});
  const EncodedBatch b = Encode(*encoder, {&clip});
  EXPECT_EQ(Rows(a.tokens, 0, 6), Rows(b.tokens, 0, 6));
}

TEST(Encoder, FramesThatDoNotFitAreTheCallersFault) {
  const auto encoder = Tiny(DType::kBf16);
  Frames item = RandomFrames(1, 4, 4, 1);
  item.grid.h = 6;
  const std::vector<const Frames*> items = {&item};
  EXPECT_EQ(encoder->Forward(items, kAll).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(encoder->Forward({}, kAll).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(encoder->Forward(items, {true, {}}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Encoder, StageTimesAreOfThisPass) {
  const auto encoder = Tiny(DType::kBf16);
  const Frames item = RandomFrames(1, 14, 14, 1);
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
  const auto drawn = Tiny(DType::kBf16);
  EXPECT_EQ((*loaded)->info().fingerprint, drawn->info().fingerprint);
  EXPECT_EQ((*loaded)->info().name, folder.path().filename().string());
  EXPECT_EQ((*loaded)->info().dtype, DType::kBf16);
  const Frames item = RandomFrames(1, 4, 4, 2);
  EXPECT_EQ(Rows(Encode(**loaded, {&item}).tokens, 0, 4), Rows(Encode(*drawn, {&item}).tokens, 0, 4));
}

TEST(Encoder, WrongSetUpIsRefusedByOption) {
  const auto refusal = [](const LoadOptions& options) { return std::string(LoadEncoder(options).status().message()); };
  LoadOptions options;
  options.model = "random:7b";
  EXPECT_THAT(refusal(options), ::testing::HasSubstr("unknown shape \"7b\""));
  options.model = "random:tiny";
  options.device = "cuda:0";
  EXPECT_THAT(refusal(options), ::testing::HasSubstr("device is \"cuda:0\""));
  options.device = "cpu";
  options.threads = -1;
  EXPECT_THAT(refusal(options), ::testing::HasSubstr("threads is -1"));
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
#endif

}  // namespace
}  // namespace vitower
