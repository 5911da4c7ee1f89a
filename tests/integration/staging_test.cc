#include <gmock/gmock.h>

#include <barrier>
#include <cstring>
#include <future>
#include <thread>
#include <vector>

#include "server/cast.h"
#include "tests/support/server_fixture.h"
#include "tests/support/test_items.h"
#include "tests/support/test_stream.h"
#include "tests/support/timed_encoder.h"

namespace vitower {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

// A server whose one device has two encoders, as a GPU has.
class StagingTest : public ServerTest {
 protected:
  ~StagingTest() override { puppet_->Release(); }

  void Serve(std::vector<std::unique_ptr<Encoder>> encoders) {
    auto server = Server::Start(options_, std::move(encoders));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::VisionEmbedder::NewStub(NewChannel());
    ASSERT_TRUE(server_->WaitUntilServing().ok());
  }
};

TEST_F(StagingTest, OneBatchMoreIsWithTheDeviceThanItComputes) {
  std::vector<std::unique_ptr<Encoder>> encoders;
  for (int i = 0; i < 2; ++i) encoders.push_back(MakePuppetEncoder(puppet_, dtype_));
  Serve(std::move(encoders));
  puppet_->Hold();
  std::vector<std::future<Reply>> replies;
  for (uint8_t i = 0; i < 4; ++i) {
    replies.push_back(std::async(std::launch::async, [this, i] { return Embed(OneImage(64, 64, {i, 9, 9})); }));
    if (i < 2) puppet_->AwaitPasses(2 + i + 1);  // two warm-ups
  }
  AwaitMetric("vitower_queue_items", 4);
  EXPECT_EQ(puppet_->passes(), 4U);
  puppet_->Release();
  for (uint8_t i = 0; i < 4; ++i) ExpectRowsOf(replies[i].get().response.results(0), 64, 64, {i, 9, 9});
}

TEST_F(StagingTest, WhatEncodersInTurnsComputeIsEachItemsOwn) {
  TimedEncoderOptions device;
  device.out_hidden_size = 8;
  device.shortest = microseconds(500);
  device.upload = microseconds(200);
  options_.max_batch_patches = 64;
  Serve(MakeTimedDevice(device, /*encoders=*/2));
  const std::vector<Colour> colours = Colours(200);
  TestStream stream(*stub_);
  std::jthread writer([&] {
    for (size_t i = 0; i < colours.size(); ++i) {
      v1::Item item = ImageItem("", SolidBmp(64, 64, colours[i]));
      item.mutable_preprocessing()->set_min_pixels(1024);
      ASSERT_TRUE(stream.Send(i, item));
    }
    stream.HalfClose();
  });
  size_t answers = 0;
  while (const auto answer = stream.Read()) {
    const Colour& colour = colours[answer->key];
    ASSERT_EQ(answer->result.outputs_size(), 4) << answer->result.status().message();
    uint16_t first[4] = {};
    std::memcpy(first, answer->result.outputs(3).data().data(), sizeof(first));
    const uint16_t mark[4] = {Bf16FromFloat(colour.red), Bf16FromFloat(colour.green), Bf16FromFloat(colour.blue),
                              Bf16FromFloat(3)};
    EXPECT_TRUE(std::equal(first, first + 4, mark)) << "item " << answer->key;
    ++answers;
  }
  EXPECT_EQ(answers, colours.size());
  EXPECT_TRUE(stream.Finish().ok());
}

// The device that measurements of the server are made against.
TEST(TimedDevice, ComputesOnePassAtATimeAndHidesUploadsBehindIt) {
  TimedEncoderOptions options;
  options.out_hidden_size = 8;
  options.shortest = microseconds(1000);
  options.upload = microseconds(300);
  std::vector<std::unique_ptr<Encoder>> encoders = MakeTimedDevice(options, /*encoders=*/2);
  constexpr int kPasses = 20;
  std::barrier together(2);
  nanoseconds behind[2] = {};
  const auto run = [&](size_t encoder) {
    Frames frames;
    frames.grid = GridThw{1, 2, 2};
    frames.rgb = std::vector<uint8_t>{1, 2, 3};
    const std::vector<TowerInput> items = {&frames};
    OutputSet wanted;
    wanted.deepstack.assign(3, false);
    for (int i = 0; i < kPasses; ++i) {
      together.arrive_and_wait();
      const auto begun_at = std::chrono::steady_clock::now();
      const auto batch = encoders[encoder]->Forward(items, wanted);
      ASSERT_TRUE(batch.ok());
      const ForwardTimes& times = batch->times;
      EXPECT_LE(times.behind + times.upload + times.blocks, std::chrono::steady_clock::now() - begun_at);
      EXPECT_GE(times.blocks, options.shortest);
      EXPECT_GE(times.behind + times.upload, options.upload);
      behind[encoder] += times.behind;
    }
  };
  const auto begun_at = std::chrono::steady_clock::now();
  {
    const std::jthread one(run, 0);
    const std::jthread two(run, 1);
  }
  EXPECT_GE(std::chrono::steady_clock::now() - begun_at, 2 * kPasses * options.shortest);
  EXPECT_GT(behind[0] + behind[1], nanoseconds(0));
}

}  // namespace
}  // namespace vitower
