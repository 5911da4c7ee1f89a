#include <gmock/gmock.h>

#include <future>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "preprocess/encode.h"
#include "tests/support/server_fixture.h"
#include "tests/support/test_items.h"
#include "tests/support/test_stream.h"

namespace vitower {
namespace {

using testing::HasSubstr;

class StreamTest : public ServerTest {
 protected:
  void Serve() {
    Start();
    ASSERT_TRUE(server_->WaitUntilServing().ok());
  }
  v1::Result EmbedAlone(const v1::Item& item) { return Embed(RequestOf({item})).response.results(0); }
};

v1::Item BmpItem(int64_t width, int64_t height, Colour colour) {
  return ImageItem("", SolidBmp(width, height, colour));
}

void ExpectSameAnswer(const v1::Result& got, const v1::Result& expected) {
  ASSERT_EQ(got.status().code(), expected.status().code()) << got.status().message();
  EXPECT_EQ(got.status().message(), expected.status().message());
  EXPECT_EQ(got.token_count(), expected.token_count());
  ASSERT_EQ(got.outputs_size(), expected.outputs_size());
  for (int i = 0; i < got.outputs_size(); ++i) {
    EXPECT_EQ(got.outputs(i).name(), expected.outputs(i).name());
    EXPECT_EQ(got.outputs(i).data(), expected.outputs(i).data());
  }
}

TEST_F(StreamTest, AnItemIsAnsweredUnderItsKey) {
  Serve();
  TestStream stream(*stub_);
  ASSERT_TRUE(stream.Send(7, ImageItem("seven", SolidBmp(64, 96, {5, 6, 7}))));
  const auto answer = stream.Read();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->key, 7U);
  EXPECT_EQ(answer->result.id(), "seven");
  ExpectRowsOf(answer->result, 64, 96, {5, 6, 7});
  stream.HalfClose();
  EXPECT_FALSE(stream.Read());
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(StreamTest, AnswersComeInTheOrderOfCompletion) {
  Serve();
  puppet_->Hold();
  TestStream stream(*stub_);
  ASSERT_TRUE(stream.Send(1, BmpItem(64, 64, {})));
  ASSERT_TRUE(stream.Send(2, ImageItem("", "no image")));
  const auto first = stream.Read();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->key, 2U);
  EXPECT_EQ(first->result.status().code(), 3U);
  puppet_->Release();
  EXPECT_EQ(stream.Read()->key, 1U);
}

v1::Item EncodedClip(int64_t width, const std::vector<Colour>& colours) {
  std::vector<RgbImage> frames;
  for (const Colour& colour : colours) {
    const std::string rgb = SolidRgb(width, 64, {colour});
    frames.push_back({.size = {.height = 64, .width = width}, .rgb = {rgb.begin(), rgb.end()}});
  }
  return VideoItem(EncodeClip(frames, /*fps=*/4).value());
}

// Items of every source, no two alike, one in twenty broken.
std::vector<v1::Item> MixedItems() {
  std::vector<v1::Item> items;
  for (uint8_t i = 0; i < 40; ++i) {
    const Colour colour{static_cast<uint8_t>(20 + 5 * i), i, 9};
    const int64_t width = 32 * (1 + i % 5);
    switch (i % 5) {
      case 0:
        items.push_back(BmpItem(width, 64, colour));
        break;
      case 1:
        items.push_back(RgbItem(width, 32, {colour}, /*frames=*/0));
        break;
      case 2:
        items.push_back(PatchesItem({1, 2 + 2 * (i % 7), 4}, DType::kFp32));
        break;
      case 3:
        items.push_back(RgbItem(width, 64, {colour, {1, 9, i}, colour}, /*frames=*/3));
        break;
      default:
        items.push_back(EncodedClip(width, {colour, {1, 90, i}, colour, colour, {200, 9, i}}));
    }
  }
  std::string& clip = *items[34].mutable_video()->mutable_data();
  clip.resize(clip.size() - 100);
  items[20].mutable_image()->resize(30);
  return items;
}

TEST_F(StreamTest, EachOfTwoThousandMixedItemsIsAnsweredOnceWithItsOwnAnswer) {
  constexpr uint64_t kItems = 2000;
  Serve();
  const std::vector<v1::Item> kinds = MixedItems();
  std::vector<v1::Result> expected;
  for (const v1::Item& item : kinds) expected.push_back(EmbedAlone(item));
  TestStream stream(*stub_);
  std::thread writer([&] {
    for (uint64_t key = 0; key < kItems; ++key) {
      v1::Item item = kinds[key % kinds.size()];
      item.set_id("item " + std::to_string(key));
      EXPECT_TRUE(stream.Send(key, item));
    }
    stream.HalfClose();
  });
  std::set<uint64_t> answered;
  while (const auto answer = stream.Read()) {
    EXPECT_TRUE(answered.insert(answer->key).second) << answer->key;
    EXPECT_EQ(answer->result.id(), "item " + std::to_string(answer->key));
    ExpectSameAnswer(answer->result, expected[answer->key % kinds.size()]);
  }
  writer.join();
  EXPECT_EQ(stream.broken(), "");
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_EQ(answered.size(), kItems);
  AwaitMetric("vitower_inflight_bytes", 0);
  EXPECT_EQ(Metric("vitower_queue_patches"), 0);
}

TEST_F(StreamTest, ALargeAnswerComesInPartsThatMakeTheSameBytes) {
  options_.stream_chunk_bytes = 64 << 10;
  Serve();
  const v1::Item item = BmpItem(2048, 1024, {9, 8, 7});  // 2,048 tokens: 64 KiB in each output
  v1::Item larger = item;
  larger.set_image(SolidBmp(2048, 2048, {9, 8, 7}));
  TestStream stream(*stub_);
  for (const auto& [key, sent] : {std::pair{1, &item}, {2, &larger}}) {
    ASSERT_TRUE(stream.Send(static_cast<uint64_t>(key), *sent));
    const auto answer = stream.Read();
    ASSERT_TRUE(answer) << stream.broken();
    EXPECT_EQ(answer->messages, 1 + 3 * static_cast<size_t>(key));
    ExpectSameAnswer(answer->result, EmbedAlone(*sent));
  }
}

TEST_F(StreamTest, ADefaultClientsReceiveLimitIsEnough) {
  options_.stream_chunk_bytes = 3 << 20;
  Serve();
  const auto channel =
      grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials());
  const auto stub = v1::VisionEmbedder::NewStub(channel);
  TestStream stream(*stub);
  v1::Item item = BmpItem(64, 64, {});
  item.set_image(SolidBmp(4096, 4096, {1, 9, 2}));
  item.mutable_outputs()->set_tokens(true);
  for (uint32_t level : {0U, 1U, 0U}) item.mutable_outputs()->add_deepstack_levels(level);
  for (uint64_t key = 0; key < 2; ++key) {
    ASSERT_TRUE(stream.SendInParts(key, item, 3 << 20));
    const auto answer = stream.Read();
    ASSERT_TRUE(answer) << stream.broken();
    EXPECT_EQ(answer->result.status().code(), 0U) << answer->result.status().message();
    EXPECT_EQ(answer->result.outputs(0).data().size(), 16'384U * 8 * 4);
  }
}

TEST_F(StreamTest, ItemsInPartsOfManySizesArriveWholeWhileOthersPass) {
  Serve();
  const v1::Item item = BmpItem(256, 160, {50, 60, 70});
  const std::string bytes = item.SerializeAsString();
  TestStream stream(*stub_);
  for (const size_t chunk : {bytes.size(), bytes.size() - 1, bytes.size() / 3, size_t{4096}}) {
    ASSERT_TRUE(stream.SendInParts(chunk, item, chunk));
    const auto answer = stream.Read();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->key, chunk);
    ExpectRowsOf(answer->result, 256, 160, {50, 60, 70});
  }
}

TEST_F(StreamTest, PartsOfSeveralItemsMayAlternate) {
  Serve();
  const std::string one = BmpItem(64, 64, {10, 20, 30}).SerializeAsString();
  const std::string two = BmpItem(96, 64, {40, 50, 60}).SerializeAsString();
  TestStream stream(*stub_);
  ASSERT_TRUE(stream.SendPart(1, 0, one.size(), one.substr(0, 100)));
  ASSERT_TRUE(stream.SendPart(2, 0, two.size(), two.substr(0, 7000)));
  ASSERT_TRUE(stream.Send(3, BmpItem(32, 32, {})));
  EXPECT_EQ(stream.Read()->key, 3U);
  ASSERT_TRUE(stream.SendPart(1, 100, one.size(), one.substr(100)));
  ExpectRowsOf(stream.Read()->result, 64, 64, {10, 20, 30});
  ASSERT_TRUE(stream.SendPart(2, 7000, two.size(), two.substr(7000)));
  ExpectRowsOf(stream.Read()->result, 96, 64, {40, 50, 60});
}

TEST_F(StreamTest, AKeyMayBeUsedAgainAsSoonAsItsAnswerIsThere) {
  options_.stream_chunk_bytes = 64 << 10;
  Serve();
  TestStream stream(*stub_);
  for (int round = 0; round < 300; ++round) {
    ASSERT_TRUE(stream.Send(1, BmpItem(round % 30 == 0 ? 2048 : 32, 1024, {static_cast<uint8_t>(10 + round % 200)})));
    const auto answer = stream.Read();
    ASSERT_TRUE(answer) << stream.Finish().error_message();
    EXPECT_EQ(answer->result.status().code(), 0U);
  }
}

TEST_F(StreamTest, WhatIsNoItemIsAnsweredAndTheStreamGoesOn) {
  Serve();
  TestStream stream(*stub_);
  const std::string nonsense = "\xFF\xFF\xFF\xFF";
  ASSERT_TRUE(stream.SendPart(1, 0, nonsense.size(), nonsense));
  const auto refused = stream.Read();
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->result.status().code(), 3U);
  ASSERT_TRUE(stream.Send(2, v1::Item()));
  EXPECT_EQ(stream.Read()->result.status().code(), 3U);
  ASSERT_TRUE(stream.Send(3, BmpItem(32, 32, {})));
  EXPECT_EQ(stream.Read()->result.status().code(), 0U);
}

TEST_F(StreamTest, AStreamAloneIsNeverRefusedForLackOfRoom) {
  options_.max_item_patches = 64;
  options_.max_batch_patches = 64;
  options_.max_queue_patches = 64;
  options_.max_stream_items = 1000;
  Serve();
  TestStream stream(*stub_);
  std::thread writer([&] {
    for (uint64_t key = 0; key < 500; ++key) {
      const int64_t side = 32 * static_cast<int64_t>(1 + key % 4);
      EXPECT_TRUE(key % 2 == 0 ? stream.Send(key, BmpItem(side, side, {9, 9, 9}))
                               : stream.SendInParts(key, BmpItem(side, side, {9, 9, 9}), 2000));
    }
    stream.HalfClose();
  });
  size_t answers = 0;
  for (; const auto answer = stream.Read(); ++answers) {
    EXPECT_EQ(answer->result.status().code(), 0U) << answer->result.status().message();
  }
  writer.join();
  EXPECT_EQ(answers, 500U);
}

TEST_F(StreamTest, AnItemThatAFullServerRefusesSaysWhenToComeBack) {
  options_.max_item_patches = 64;
  options_.max_queue_patches = 64;
  Serve();
  puppet_->Hold();
  auto other = std::async(std::launch::async, [&] { return Embed(OneImage(128, 96)); });
  AwaitMetric("vitower_queue_patches", 48);
  TestStream stream(*stub_);
  ASSERT_TRUE(stream.Send(1, BmpItem(128, 64, {})));
  const auto refused = stream.Read();
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->result.status().code(), 8U);
  EXPECT_EQ(refused->result.retry_after_ms(), 200U);
  EXPECT_EQ(Metric("vitower_rejected_total{method=\"EmbedStream\",reason=\"queue_full\"}"), 1);
  puppet_->Release();
  EXPECT_TRUE(other.get().status.ok());
  ASSERT_TRUE(stream.Send(1, BmpItem(128, 64, {})));
  EXPECT_EQ(stream.Read()->result.status().code(), 0U);
}

TEST_F(StreamTest, AnItemThatCanNeverFitSaysSo) {
  options_.max_inflight_bytes = 1 << 20;
  Serve();
  TestStream stream(*stub_);
  ASSERT_TRUE(stream.Send(1, ImageItem("", PngHeader(1000, 1000))));
  ASSERT_TRUE(stream.SendPart(2, 0, 2 << 20, std::string(1 << 20, 'x')));
  ASSERT_TRUE(stream.SendPart(2, 1 << 20, 2 << 20, std::string(1 << 20, 'x')));
  for (uint64_t key : {1U, 2U}) {
    const auto refused = stream.Read();
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->key, key);
    EXPECT_EQ(refused->result.status().code(), 8U);
    EXPECT_TRUE(refused->result.has_retry_after_ms());
    EXPECT_EQ(refused->result.retry_after_ms(), 0U);
  }
}

TEST_F(StreamTest, AnAnswerAboveTheReplyLimitIsServedOnAStream) {
  options_.max_reply_bytes = 1024;
  Serve();
  TestStream stream(*stub_);
  ASSERT_TRUE(stream.Send(1, BmpItem(128, 128, {1, 2, 9})));
  ExpectRowsOf(stream.Read()->result, 128, 128, {1, 2, 9});
}

TEST_F(StreamTest, TwoStreamsAtOnceKeepTheirKeysApart) {
  Serve();
  const auto run = [this](Colour colour) {
    TestStream stream(*stub_);
    std::thread writer([&] {
      for (uint64_t key = 0; key < 200; ++key) EXPECT_TRUE(stream.Send(key, BmpItem(64, 32, colour)));
      stream.HalfClose();
    });
    size_t answers = 0;
    for (; const auto answer = stream.Read(); ++answers) ExpectRowsOf(answer->result, 64, 32, colour);
    writer.join();
    return answers;
  };
  auto other = std::async(std::launch::async, run, Colour{90, 1, 1});
  EXPECT_EQ(run({10, 2, 2}), 200U);
  EXPECT_EQ(other.get(), 200U);
}

TEST_F(StreamTest, ManySmallStreamsLeaveNothingBehind) {
  Serve();
  std::vector<std::thread> clients;
  for (int client = 0; client < 8; ++client) {
    clients.emplace_back([this] {
      for (uint64_t round = 0; round < 40; ++round) {
        TestStream stream(*stub_);
        for (uint64_t key = 0; key < round % 4; ++key) stream.Send(key, BmpItem(32, 32, {}));
        if (round % 5 == 4) continue;  // cancelled
        stream.HalfClose();
        size_t answers = 0;
        while (stream.Read()) ++answers;
        EXPECT_EQ(answers, round % 4);
        EXPECT_TRUE(stream.Finish().ok());
      }
    });
  }
  for (std::thread& client : clients) client.join();
  AwaitMetric("vitower_inflight_bytes", 0);
  EXPECT_EQ(Metric("vitower_queue_items"), 0);
  EXPECT_TRUE(server_->Drain().ok());
}

TEST_F(StreamTest, TheMetricsSeeAnItemOfAStreamAsOneOfACall) {
  Serve();
  TestStream stream(*stub_);
  ASSERT_TRUE(stream.Send(1, BmpItem(32, 32, {})));
  ASSERT_TRUE(stream.Read());
  stream.HalfClose();
  EXPECT_FALSE(stream.Read());
  AwaitMetric("vitower_request_duration_seconds_count{code=\"OK\",method=\"EmbedStream\"}", 1);
  EXPECT_EQ(Metric("vitower_items_total{code=\"OK\",kind=\"image\"}"), 1);
  for (const char* stage : {"receive", "admit", "decode", "queue", "blocks", "encode", "send"}) {
    EXPECT_EQ(Metric("vitower_stage_duration_seconds_count{stage=\"" + std::string(stage) + "\"}"), 1) << stage;
  }
  EXPECT_GT(Metric("vitower_bytes_received_total"), 32 * 32 * 3);
  EXPECT_GT(Metric("vitower_bytes_sent_total"), 3 * 8 * 4);
}

TEST_F(StreamTest, TheModelsInfoTellsTheLimitsOfStreams) {
  options_.max_stream_items = 17;
  options_.stream_chunk_bytes = 100'000;
  options_.max_video_frames = 500;
  options_.max_video_seconds = 12.5;
  Serve();
  grpc::ClientContext context;
  v1::ModelInfo info;
  ASSERT_TRUE(stub_->GetModelInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.limits().max_stream_items(), 17U);
  EXPECT_EQ(info.limits().stream_chunk_bytes(), 100'000U);
  EXPECT_EQ(info.limits().max_video_frames(), 500U);
  EXPECT_EQ(info.limits().max_video_seconds(), 12.5);
  EXPECT_EQ(info.video_min_pixels(), 4096U);
  EXPECT_EQ(info.video_max_pixels(), uint64_t{1} << 24);
}

}  // namespace
}  // namespace vitower
