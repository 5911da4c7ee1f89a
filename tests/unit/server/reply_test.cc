#include "server/reply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "tests/support/puppet_encoder.h"
#include "tests/unit/server/test_call.h"

namespace vitower {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A batch of images of 2 x 2k patches, run by a puppet, and the jobs that own them.
class ReplyTest : public testing::Test {
 protected:
  void Run(DType dtype, const std::vector<std::array<uint8_t, 3>>& pixels) {
    info_ = PuppetInfo(dtype);
    std::vector<TowerInput> items;
    for (size_t i = 0; i < pixels.size(); ++i) {
      jobs_.push_back(MakeJob(call_, i, 8 * static_cast<int64_t>(i + 1)));
      Job& job = *jobs_.back();
      job.plan.outputs.deepstack = {false, true};
      job.plan.dtype = dtype;
      job.batch_index = i;
      Frames frames;
      frames.grid = job.plan.grid;
      frames.rgb = std::vector<uint8_t>(pixels[i].begin(), pixels[i].end());
      job.input = std::make_shared<const JobInput>(std::move(frames));
      items.push_back(Borrow(*job.input));
    }
    auto forward = std::make_shared<ForwardResult>();
    forward->computed.deepstack = {true, true};
    forward->batch = *MakePuppetEncoder(std::make_shared<Puppet>(), dtype)->Forward(items, forward->computed);
    for (auto& job : jobs_) job->forward = forward;
    forward_ = forward;
  }

  const Frames& FramesOf(size_t index) const { return std::get<Frames>(*jobs_[index]->input); }

  std::vector<float> Values(const v1::Tensor& tensor) {
    std::vector<float> values(tensor.data().size() / sizeof(float));
    std::memcpy(values.data(), tensor.data().data(), tensor.data().size());
    return values;
  }

  TestCall call_{8};
  EncoderInfo info_;
  std::vector<std::unique_ptr<Job>> jobs_;
  std::shared_ptr<ForwardResult> forward_;
};

TEST_F(ReplyTest, HoldsTheItemsOwnRows) {
  Run(DType::kFp32, {{10, 0, 0}, {20, 0, 0}});
  const auto result = BuildResult(*jobs_[1], info_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->token_count(), 4U);
  EXPECT_EQ(result->hidden_size(), 8U);
  EXPECT_THAT(result->outputs_not_sent(), ElementsAre("deepstack_0", "pooled", "pooled_slices"));
  ASSERT_EQ(result->outputs_size(), 2);
  EXPECT_EQ(result->outputs(1).name(), "deepstack_1");
  EXPECT_THAT(result->outputs(1).shape(), ElementsAre(4, 8));
  EXPECT_EQ(Values(result->outputs(0))[3 * 8 + 5], PuppetValue(FramesOf(1), 3, 5, 0));
  EXPECT_EQ(Values(result->outputs(1))[2 * 8 + 7], PuppetValue(FramesOf(1), 2, 7, 2));
}

TEST_F(ReplyTest, PooledIsTheMeanOfTheTokensEvenWhenTheyAreNotSent) {
  Run(DType::kFp32, {{10, 0, 0}});
  jobs_[0]->plan.outputs = {false, {false, false}};
  jobs_[0]->plan.pooled = true;
  const auto result = BuildResult(*jobs_[0], info_);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->outputs_size(), 1);
  EXPECT_THAT(result->outputs(0).shape(), ElementsAre(8));
  const Frames& frames = FramesOf(0);
  EXPECT_EQ(Values(result->outputs(0))[3], (PuppetValue(frames, 0, 3, 0) + PuppetValue(frames, 1, 3, 0)) / 2);
}

TEST_F(ReplyTest, PooledSlicesAreTheMeansOfEachSlicesTokens) {
  Run(DType::kFp32, {{10, 0, 0}, {20, 0, 0}});  // the second has 4 tokens: as of a clip of 2 slices
  Job& job = *jobs_[1];
  job.plan.grid = GridThw{2, 2, 4};
  job.plan.outputs = {false, {false, false}};
  job.plan.pooled_slices = true;
  const auto result = BuildResult(job, info_);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->outputs_size(), 1);
  EXPECT_EQ(result->outputs(0).name(), "pooled_slices");
  EXPECT_THAT(result->outputs(0).shape(), ElementsAre(2, 8));
  EXPECT_THAT(result->outputs_not_sent(), ElementsAre("tokens", "deepstack_0", "deepstack_1", "pooled"));
  const auto mean = [&](int64_t row, int64_t col) {
    return (PuppetValue(FramesOf(1), row, col, 0) + PuppetValue(FramesOf(1), row + 1, col, 0)) / 2;
  };
  EXPECT_EQ(Values(result->outputs(0))[3], mean(0, 3));
  EXPECT_EQ(Values(result->outputs(0))[8 + 5], mean(2, 5));
}

TEST_F(ReplyTest, VectorsAreScaledToLengthOneWhenAskedFor) {
  Run(DType::kFp32, {{10, 0, 0}});
  Job& job = *jobs_[0];
  job.plan.pooled = true;
  const auto plain = BuildResult(job, info_);
  job.plan.pooled_slices = true;
  job.plan.l2_normalize = true;
  const auto scaled = BuildResult(job, info_);
  ASSERT_TRUE(plain.ok() && scaled.ok()) << scaled.status();
  EXPECT_EQ(scaled->outputs(0).data(), plain->outputs(0).data());  // tokens are not scaled
  const std::vector<float> mean = Values(plain->outputs(2));
  const double length = std::sqrt(std::inner_product(mean.begin(), mean.end(), mean.begin(), 0.0));
  for (const int output : {2, 3}) {
    const std::vector<float> unit = Values(scaled->outputs(output));
    for (size_t i = 0; i < 8; ++i) EXPECT_FLOAT_EQ(unit[i], static_cast<float>(mean[i] / length));
  }
}

TEST_F(ReplyTest, SaysWhichFramesOfAClipWereTaken) {
  Run(DType::kFp32, {{10, 0, 0}});
  EXPECT_FALSE(BuildResult(*jobs_[0], info_)->has_source_fps());
  jobs_[0]->clip = ClipFacts{{0, 15, 30}, 30.0, {0.25, 1.0}, /*padded=*/true};
  const auto result = BuildResult(*jobs_[0], info_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->frame_indices(), ElementsAre(0, 15, 30));
  EXPECT_EQ(result->source_fps(), 30);
  EXPECT_THAT(result->slice_timestamps(), ElementsAre(0.25, 1.0));
  EXPECT_TRUE(result->padded());
}

TEST_F(ReplyTest, CastsToTheDtypeAskedFor) {
  Run(DType::kBf16, {{10, 0, 0}});
  jobs_[0]->plan.dtype = DType::kFp32;
  const auto result = BuildResult(*jobs_[0], info_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->dtype(), v1::DTYPE_FP32);
  EXPECT_EQ(result->outputs(0).dtype(), v1::DTYPE_FP32);
  EXPECT_EQ(Values(result->outputs(0))[9], PuppetValue(FramesOf(0), 1, 1, 0));
}

TEST_F(ReplyTest, ANanFailsItsOwnItemOnly) {
  Run(DType::kFp32, {{10, 0, 0}, {1, 2, 3}, {20, 0, 0}});
  EXPECT_TRUE(BuildResult(*jobs_[0], info_).ok());
  EXPECT_TRUE(BuildResult(*jobs_[2], info_).ok());
  const absl::Status bad = BuildResult(*jobs_[1], info_).status();
  EXPECT_EQ(bad.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(bad.message()), HasSubstr("tokens"));
}

TEST_F(ReplyTest, AValueTooLargeForFp16IsRefusedByName) {
  Run(DType::kBf16, {{4, 5, 6}});
  EXPECT_TRUE(BuildResult(*jobs_[0], info_).ok());
  jobs_[0]->plan.dtype = DType::kFp16;
  const absl::Status refused = BuildResult(*jobs_[0], info_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("outputs.dtype fp16"));
}

TEST_F(ReplyTest, AnEncodersBatchIsCheckedBeforeItIsSliced) {
  Run(DType::kFp32, {{10, 0, 0}, {20, 0, 0}});
  EXPECT_TRUE(CheckForward(*forward_, jobs_, info_).ok());
  ForwardResult short_offsets = *forward_;
  --short_offsets.batch.token_offsets.back();
  EXPECT_FALSE(CheckForward(short_offsets, jobs_, info_).ok());
  ForwardResult narrow = *forward_;
  narrow.batch.tokens.cols = 7;
  EXPECT_THAT(std::string(CheckForward(narrow, jobs_, info_).message()), HasSubstr("[6, 7] fp32 instead of [6, 8]"));
  ForwardResult missing = *forward_;
  missing.batch.deepstack[1].data = nullptr;
  EXPECT_FALSE(CheckForward(missing, jobs_, info_).ok());
}

}  // namespace
}  // namespace vitower
