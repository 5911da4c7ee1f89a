#include <gmock/gmock.h>

#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/server_fixture.h"
#include "tests/support/test_items.h"

namespace vitower {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::HasSubstr;

class SourcesTest : public ServerTest {
 protected:
  void Serve() {
    Start();
    ASSERT_TRUE(server_->WaitUntilServing().ok());
  }
};

float ValueAt(const v1::Tensor& tensor, size_t index) {
  float value = 0;
  std::memcpy(&value, tensor.data().data() + index * sizeof(float), sizeof(float));
  return value;
}

// That the result holds what a puppet makes of `input`: tokens and both DeepStack levels.
template <typename Input>
void ExpectRows(const v1::Result& result, const Input& input) {
  ASSERT_EQ(result.status().code(), 0U) << result.status().message();
  EXPECT_EQ(result.grid_thw().t(), input.grid.t);
  EXPECT_EQ(result.grid_thw().h(), input.grid.h);
  EXPECT_EQ(result.grid_thw().w(), input.grid.w);
  ASSERT_EQ(static_cast<int64_t>(result.token_count()), input.grid.patches() / 4);
  ASSERT_EQ(result.outputs_size(), 3);
  for (int output = 0; output < 3; ++output) {
    const v1::Tensor& tensor = result.outputs(output);
    ASSERT_EQ(tensor.data().size(), result.token_count() * 8 * sizeof(float));
    for (size_t i = 0; i < result.token_count() * 8; ++i) {
      const auto place = static_cast<int64_t>(i);
      ASSERT_EQ(ValueAt(tensor, i), PuppetValue(input, place / 8, place % 8, output)) << tensor.name() << " at " << i;
    }
  }
}

// Frames of one colour each, of 64 x 96 pixels.
Frames FramesOf(const std::vector<Colour>& colours) {
  Frames frames;
  frames.frame_count = static_cast<int64_t>(colours.size());
  frames.height = 96;
  frames.width = 64;
  frames.rgb = SolidRgb(64, 96, colours);
  frames.grid = GridThw{(frames.frame_count + 1) / 2, 6, 4};
  return frames;
}

PatchRows PatchRowsOf(const v1::Item& item) {
  const v1::GridThw& grid = item.patches().grid_thw();
  return {item.patches().data(), DType::kFp16, {grid.t(), grid.h(), grid.w()}};
}

// One good item of each source, and its expectation.
struct Good {
  v1::Item item;
  std::function<void(const v1::Result&)> expect;
};

Good GoodOf(v1::Item item, const std::vector<Colour>& colours) {
  return {std::move(item), [colours](const v1::Result& result) { ExpectRows(result, FramesOf(colours)); }};
}

std::vector<Good> EverySource() {
  const std::vector<Colour> clip = Colours(4);
  const v1::Item patches = PatchesItem({3, 4, 2}, DType::kFp16);
  return {GoodOf(ImageItem("", SolidBmp(64, 96, {40, 41, 42})), {{40, 41, 42}}),
          GoodOf(VideoItem(AnimatedGif(64, 96, clip)), clip),
          GoodOf(FramesItem(64, 96, Colours(7)), Colours(7)),
          GoodOf(RgbItem(64, 96, {{90, 80, 70}}, 0), {{90, 80, 70}}),
          GoodOf(RgbItem(64, 96, Colours(5), 5), Colours(5)),
          {patches, [rows = PatchRowsOf(patches)](const v1::Result& result) { ExpectRows(result, rows); }}};
}

std::vector<v1::Item> BrokenOnes() {
  v1::Item cut = VideoItem(AnimatedGif(64, 96, Colours(6)));
  cut.mutable_video()->mutable_data()->resize(cut.video().data().size() / 2);
  v1::Item odd = FramesItem(64, 96, Colours(3));
  odd.mutable_frames()->set_images(1, SolidBmp(32, 32, {}));
  v1::Item few_bytes = RgbItem(64, 96, Colours(2), 2);
  few_bytes.mutable_rgb()->mutable_data()->pop_back();
  v1::Item override_of_nothing = RgbItem(64, 96, Colours(1), 0);
  override_of_nothing.mutable_preprocessing()->mutable_background();
  v1::Item few_rows = PatchesItem({1, 2, 2}, DType::kBf16);
  few_rows.mutable_patches()->mutable_grid_thw()->set_t(2);
  v1::Item nan = PatchesItem({1, 2, 2}, DType::kBf16);
  nan.mutable_patches()->mutable_data()->replace(0, 2, "\xC0\x7F");
  return {cut, odd, few_bytes, override_of_nothing, few_rows, nan};
}

TEST_F(SourcesTest, EverySourceInOneCallAndBrokenOnesAmongThemHarmNoNeighbour) {
  Serve();
  const std::vector<Good> good = EverySource();
  const std::vector<v1::Item> broken = BrokenOnes();
  ASSERT_EQ(good.size(), broken.size());
  v1::EmbedRequest request;
  for (size_t i = 0; i < good.size(); ++i) {
    *request.add_items() = good[i].item;
    *request.add_items() = broken[i];
  }
  const Reply reply = Embed(request);
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  for (size_t i = 0; i < good.size(); ++i) {
    SCOPED_TRACE(i);
    good[i].expect(reply.response.results(static_cast<int>(2 * i)));
    const v1::Result& refused = reply.response.results(static_cast<int>(2 * i + 1));
    EXPECT_EQ(refused.status().code(), 3U) << refused.status().message();
    EXPECT_EQ(refused.outputs_size(), 0);
  }
  for (const std::string kind : {"image", "video", "frames", "patches"}) {
    EXPECT_EQ(Metric("vitower_items_total{code=\"OK\",kind=\"" + kind + "\"}"), 1) << kind;
  }
  EXPECT_EQ(Metric("vitower_items_total{code=\"OK\",kind=\"rgb\"}"), 2);
  EXPECT_EQ(Metric("vitower_items_total{code=\"INVALID_ARGUMENT\",kind=\"patches\"}"), 2);
  EXPECT_EQ(Metric("vitower_nonfinite_items_total"), 0);
}

TEST_F(SourcesTest, WhatIsHeldForEverySourceIsGivenBack) {
  Serve();
  v1::EmbedRequest request;
  for (const Good& good : EverySource()) *request.add_items() = good.item;
  for (const v1::Item& item : BrokenOnes()) *request.add_items() = item;
  ASSERT_TRUE(Embed(request).status.ok());
  AwaitMetric("vitower_inflight_bytes", 0);
  EXPECT_EQ(Metric("vitower_queue_patches"), 0);
  EXPECT_EQ(Metric("vitower_queue_items"), 0);
}

TEST_F(SourcesTest, AClipsResultSaysWhichFramesWereTakenAndWhen) {
  Serve();
  v1::Item gif = VideoItem(AnimatedGif(64, 96, Colours(9)));  // 10 frames a second
  gif.mutable_video()->mutable_sampling()->set_num_frames(3);
  v1::Item list = FramesItem(64, 96, Colours(2));
  const Reply reply = Embed(RequestOf({gif, list}));
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  const v1::Result& sampled = reply.response.results(0);
  EXPECT_THAT(sampled.frame_indices(), ElementsAre(0, 4, 8));
  EXPECT_EQ(sampled.source_fps(), 10);
  EXPECT_THAT(sampled.slice_timestamps(), ElementsAre(DoubleEq(0.2), DoubleEq(0.8)));
  EXPECT_TRUE(sampled.padded());
  const v1::Result& whole = reply.response.results(1);
  EXPECT_THAT(whole.frame_indices(), ElementsAre(0, 1));
  EXPECT_FALSE(whole.has_source_fps());
  EXPECT_EQ(whole.slice_timestamps_size(), 0);
  EXPECT_FALSE(whole.padded());
}

TEST_F(SourcesTest, AOneFrameClipIsAStillRepeatedOnceAndSaysSo) {
  Serve();
  const Reply reply = Embed(RequestOf(
      {RgbItem(64, 96, {{9, 9, 9}}, 1), FramesItem(64, 96, {{9, 9, 9}}), VideoItem(AnimatedGif(64, 96, {{9, 9, 9}}))}));
  ASSERT_EQ(reply.response.results_size(), 3) << reply.status.error_message();
  for (const v1::Result& result : reply.response.results()) {
    ExpectRows(result, FramesOf({{9, 9, 9}}));
    EXPECT_TRUE(result.padded());
    EXPECT_THAT(result.frame_indices(), ElementsAre(0));
  }
}

TEST_F(SourcesTest, VectorsOfSlicesComeAlone) {
  Serve();
  v1::Item item = RgbItem(64, 96, Colours(4), 4);
  item.mutable_outputs()->set_pooled_slices(true);
  const Reply reply = Embed(RequestOf({item}));
  const v1::Result& result = reply.response.results(0);
  ASSERT_EQ(result.outputs_size(), 1) << result.status().message();
  EXPECT_THAT(result.outputs(0).shape(), ElementsAre(2, 8));
  EXPECT_THAT(result.outputs_not_sent(), ElementsAre("tokens", "deepstack_0", "deepstack_1", "pooled"));
  const Frames frames = FramesOf(Colours(4));
  double sum = 0;
  for (int64_t row = 6; row < 12; ++row) sum += PuppetValue(frames, row, 5, 0);
  EXPECT_EQ(ValueAt(result.outputs(0), 8 + 5), static_cast<float>(sum / 6));
}

TEST_F(SourcesTest, TheFramesOfAClipAreReckonedAtTheDoor) {
  options_.max_inflight_bytes = 700'000;
  Serve();
  v1::Item item = VideoItem(AnimatedGif(64, 96, Colours(30)));
  item.mutable_video()->mutable_sampling()->set_num_frames(10);
  EXPECT_TRUE(Embed(RequestOf({item})).status.ok());
  item.mutable_video()->mutable_sampling()->set_num_frames(30);  // 553,000 bytes, those of decoding 147,000
  const Reply refused = Embed(RequestOf({item}));
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("--max-inflight-bytes) is 700000"));
}

TEST_F(SourcesTest, NoReplyIsLargerThanWasReckonedAtTheDoor) {
  Serve();
  v1::Item item = FramesItem(64, 64, Colours(41));
  item.mutable_frames()->set_fps(10);
  v1::Outputs& outputs = *item.mutable_outputs();
  outputs.set_tokens(true);
  outputs.set_pooled(true);
  outputs.set_pooled_slices(true);
  outputs.add_deepstack_levels(0);
  outputs.add_deepstack_levels(1);
  const Reply reply = Embed(RequestOf({item}));
  ASSERT_EQ(reply.response.results(0).outputs_size(), 5) << reply.response.results(0).status().message();
  const int64_t values = (3 * 21 * 4 + 1 + 21) * 8;
  EXPECT_LE(reply.response.ByteSizeLong(), static_cast<size_t>(512 + values * 4 + 21 * 32));
}

TEST_F(SourcesTest, StagesThatASourceDoesNotHaveAreNotObserved) {
  Serve();
  ASSERT_TRUE(Embed(RequestOf({PatchesItem({1, 2, 2}, DType::kFp32), RgbItem(64, 96, Colours(1), 0)})).status.ok());
  EXPECT_EQ(Metric("vitower_stage_duration_seconds_count{stage=\"decode\"}"), 0);
  EXPECT_EQ(Metric("vitower_stage_duration_seconds_count{stage=\"resize\"}"), 1);
  EXPECT_EQ(Metric("vitower_stage_duration_seconds_count{stage=\"queue\"}"), 2);
  ASSERT_TRUE(Embed(RequestOf({VideoItem(AnimatedGif(64, 96, Colours(4)))})).status.ok());
  EXPECT_EQ(Metric("vitower_stage_duration_seconds_count{stage=\"decode\"}"), 1);
  EXPECT_EQ(Metric("vitower_stage_duration_seconds_count{stage=\"resize\"}"), 2);
}

}  // namespace
}  // namespace vitower
