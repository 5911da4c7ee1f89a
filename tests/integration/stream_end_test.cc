#include <gmock/gmock.h>

#include <future>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/raw_stream.h"
#include "tests/support/server_fixture.h"
#include "tests/support/tcp_gate.h"
#include "tests/support/test_items.h"
#include "tests/support/test_stream.h"

namespace vitower {
namespace {

using grpc::StatusCode;
using std::chrono_literals::operator""s;
using testing::HasSubstr;

class StreamEndTest : public ServerTest {
 protected:
  void Serve() {
    Start();
    ASSERT_TRUE(server_->WaitUntilServing().ok());
  }
  void ExpectNothingHeld() {
    AwaitMetric("vitower_inflight_bytes", 0);
    AwaitMetric("vitower_queue_patches", 0);
    AwaitMetric("vitower_queue_items", 0);
  }
  // Whether the server, which holds more than half of what it may, reads from nobody but the client of these calls.
  bool OthersAloneAreServed() {
    constexpr int kCalls = 20;
    if (Metric("vitower_queue_items") > 0 || Metric("vitower_inflight_bytes") <= 4 << 20) return false;
    const double received = Metric("vitower_bytes_received_total");
    const v1::EmbedRequest request = OneImage(256, 256, {7, 7, 7});
    for (int i = 0; i < kCalls; ++i) {
      ExpectRowsOf(Embed(request).response.results(0), 256, 256, {7, 7, 7});
      EXPECT_LE(Metric("vitower_inflight_bytes"), 8 << 20);
    }
    const auto sent = kCalls * static_cast<double>(request.ByteSizeLong());
    return Metric("vitower_bytes_received_total") == received + sent;
  }
  // The end of a stream that has nothing more to say.
  static grpc::Status EndOf(TestStream& stream) {
    EXPECT_FALSE(stream.Read());
    return stream.Finish();
  }
  static v1::Item Picture(int64_t width = 64, int64_t height = 64, Colour colour = {}) {
    return ImageItem("", SolidBmp(width, height, colour));
  }
};

TEST_F(StreamEndTest, HalfCloseFinishesWhatWasSent) {
  Serve();
  puppet_->Hold();
  TestStream stream(*stub_);
  for (uint64_t key = 0; key < 20; ++key) ASSERT_TRUE(stream.Send(key, Picture()));
  stream.HalfClose();
  AwaitMetric("vitower_queue_items", 20);
  puppet_->Release();
  std::set<uint64_t> answered;
  while (const auto answer = stream.Read()) answered.insert(answer->key);
  EXPECT_EQ(answered.size(), 20U);
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(StreamEndTest, AStreamOnWhichNothingIsSentEndsWell) {
  Serve();
  TestStream stream(*stub_);
  stream.HalfClose();
  EXPECT_TRUE(EndOf(stream).ok());
}

TEST_F(StreamEndTest, ACancelledStreamDropsWhatHasNotStartedAndFreesAll) {
  options_.max_batch_patches = 16;
  Serve();
  puppet_->Hold();
  TestStream stream(*stub_);
  for (uint64_t key = 0; key < 20; ++key) ASSERT_TRUE(stream.Send(key, Picture()));
  ASSERT_TRUE(stream.SendPart(99, 0, 100'000, "the first part of a large item"));
  puppet_->AwaitPasses(2);
  AwaitMetric("vitower_queue_items", 20);
  stream.Cancel();
  AwaitMetric("vitower_request_duration_seconds_count{code=\"CANCELLED\",method=\"EmbedStream\"}", 1);
  puppet_->Release();
  ExpectNothingHeld();
  EXPECT_EQ(Metric("vitower_dropped_total{reason=\"cancelled\"}"), 19);
  EXPECT_EQ(puppet_->passes(), 2U);  // the warm-up, and the item that had started
}

TEST_F(StreamEndTest, AClientThatDiesFreesAllItHad) {
  Serve();
  TcpGate gate(server_->port());
  const auto stub = v1::VisionEmbedder::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(gate.port()), grpc::InsecureChannelCredentials()));
  puppet_->Hold();
  TestStream stream(*stub);
  for (uint64_t key = 0; key < 20; ++key) ASSERT_TRUE(stream.Send(key, Picture()));
  AwaitMetric("vitower_queue_items", 20);
  gate.Cut();
  EXPECT_EQ(EndOf(stream).error_code(), StatusCode::UNAVAILABLE);
  AwaitMetric("vitower_request_duration_seconds_count{code=\"CANCELLED\",method=\"EmbedStream\"}", 1);
  puppet_->Release();
  ExpectNothingHeld();
  EXPECT_TRUE(server_->Drain().ok());
}

TEST_F(StreamEndTest, AStreamWhoseTimeIsUpEndsAndFreesAll) {
  Serve();
  puppet_->Hold();
  TestStream stream(*stub_, 1s);
  ASSERT_TRUE(stream.Send(1, Picture()));
  EXPECT_EQ(EndOf(stream).error_code(), StatusCode::DEADLINE_EXCEEDED);
  puppet_->Release();
  ExpectNothingHeld();
}

TEST_F(StreamEndTest, ADrainAnswersWhatWasAcceptedAndThenEndsTheStream) {
  Serve();
  puppet_->Hold();
  TestStream stream(*stub_);
  for (uint64_t key = 0; key < 20; ++key) ASSERT_TRUE(stream.Send(key, Picture()));
  AwaitMetric("vitower_queue_items", 20);
  auto drained = std::async(std::launch::async, [&] { return server_->Drain(); });
  AwaitMetric("vitower_state{state=\"draining\"}", 1);
  puppet_->Release();
  std::set<uint64_t> answered;
  while (const auto answer = stream.Read()) {
    answered.insert(answer->key);
    EXPECT_EQ(answer->result.status().code(), 0U);
  }
  EXPECT_EQ(answered.size(), 20U);
  const grpc::Status end = stream.Finish();
  EXPECT_EQ(end.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(end.error_message(), HasSubstr("shutting down"));
  EXPECT_TRUE(drained.get().ok());
}

TEST_F(StreamEndTest, AnIdleStreamEndsAtOnceWhenTheServerDrains) {
  Serve();
  TestStream stream(*stub_);
  ASSERT_TRUE(stream.Send(1, Picture()));
  ASSERT_TRUE(stream.Read());
  auto drained = std::async(std::launch::async, [&] { return server_->Drain(); });
  EXPECT_EQ(EndOf(stream).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_TRUE(drained.get().ok());
}

TEST_F(StreamEndTest, ADrainBehindAStuckDeviceAnswersTheItemsAndEnds) {
  options_.drain_timeout = 1s;
  Serve();
  puppet_->Hold();
  TestStream stream(*stub_);
  ASSERT_TRUE(stream.Send(1, Picture()));
  AwaitMetric("vitower_queue_items", 1);
  auto drained = std::async(std::launch::async, [&] { return server_->Drain(); });
  const auto answer = stream.Read();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->result.status().code(), 14U);
  EXPECT_EQ(EndOf(stream).error_code(), StatusCode::UNAVAILABLE);
  EXPECT_EQ(drained.get().code(), absl::StatusCode::kDeadlineExceeded);
  puppet_->Release();
}

TEST_F(StreamEndTest, AStreamDuringTheWarmUpIsUnavailable) {
  puppet_->Hold();
  Start();
  puppet_->AwaitPasses(1);
  TestStream stream(*stub_);
  const grpc::Status end = EndOf(stream);
  EXPECT_EQ(end.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(end.error_message(), HasSubstr("warming up"));
  puppet_->Release();
}

TEST_F(StreamEndTest, ABrokenRuleEndsTheStreamAndNamesKeyValueAndLimit) {
  options_.max_request_bytes = 1 << 20;
  options_.max_stream_items = 2;
  Serve();
  const auto end_after = [this](const auto& send) {
    TestStream stream(*stub_);
    send(stream);
    return EndOf(stream);
  };
  const auto expect = [](const grpc::Status& end, const std::string& message) {
    EXPECT_EQ(end.error_code(), StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(end.error_message(), message);
  };
  v1::EmbedStreamRequest bare;
  bare.set_key(5);
  expect(end_after([&](TestStream& s) { s.SendMessage(bare); }),
         "the message with key 5 has no body: set item or part");
  expect(end_after([](TestStream& s) { s.SendPart(5, 10, 20, "x"); }),
         "part of the item with key 5: offset is 10; 0 bytes of the item came before it");
  expect(end_after([](TestStream& s) {
           s.SendPart(5, 0, 20, "abc");
           s.SendPart(5, 4, 20, "x");
         }),
         "part of the item with key 5: offset is 4; 3 bytes of the item came before it");
  expect(end_after([](TestStream& s) {
           s.SendPart(5, 0, 20, "abc");
           s.SendPart(5, 3, 21, "x");
         }),
         "part of the item with key 5: total is 21; the first part of the item said 20");
  expect(end_after([](TestStream& s) { s.SendPart(5, 0, 2, "abc"); }),
         "part of the item with key 5: data has 3 bytes at offset 0, more than the total of 2");
  expect(end_after([](TestStream& s) { s.SendPart(5, 0, 0, ""); }),
         "part of the item with key 5: total is 0; it must be at least 1");
  expect(end_after([](TestStream& s) { s.SendPart(5, 0, 1'048'577, "abc"); }),
         "part of the item with key 5: total is 1048577, above the limit of 1048576 (--max-request-bytes)");
  expect(end_after([](TestStream& s) {
           for (uint64_t key = 5; key < 8; ++key) s.SendPart(key, 0, 20, "abc");
         }),
         "part of the item with key 7: 2 items of the stream are incomplete, the limit is 2 (--max-stream-items)");
  expect(end_after([](TestStream& s) {
           s.SendPart(5, 0, 20, "abc");
           s.HalfClose();
         }),
         "the stream was half-closed before the last part of the item with key 5");
  expect(end_after([](TestStream& s) {
           s.SendPart(5, 0, 20, "abc");
           s.Send(5, Picture());
         }),
         "the item with key 5 came in part and is not complete");
  ExpectNothingHeld();
  EXPECT_EQ(Metric("vitower_rejected_total{method=\"EmbedStream\",reason=\"malformed\"}"), 10);
}

TEST_F(StreamEndTest, AKeyThatIsInFlightMayNotBeUsedAgain) {
  Serve();
  puppet_->Hold();
  TestStream stream(*stub_);
  ASSERT_TRUE(stream.Send(3, Picture()));
  ASSERT_TRUE(stream.Send(3, Picture()));
  const grpc::Status end = EndOf(stream);
  EXPECT_EQ(end.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(end.error_message(), HasSubstr("an item with key 3 is in flight"));
  puppet_->Release();
  ExpectNothingHeld();
}

TEST_F(StreamEndTest, WhatIsNoMessageOfOursEndsTheStream) {
  Serve();
  RawStream stream(NewChannel(), "/vitower.v1.VisionEmbedder/EmbedStream");
  stream.Write("\xFF\xFF\xFF not protobuf");
  EXPECT_FALSE(stream.Read());
  EXPECT_EQ(stream.Finish().error_code(), StatusCode::INVALID_ARGUMENT);
}

// A client that writes 2,000 items, whose answers are ten times their size, and reads nothing. Once the answers fill
// the connection, the server stops reading from it when what it holds for the stream is above half of the limit.
TEST_F(StreamEndTest, AClientThatDoesNotReadIsNotReadFromAndHurtsNobody) {
  constexpr uint64_t kItems = 2000;
  options_.max_request_bytes = 1 << 20;
  options_.max_inflight_bytes = 8 << 20;
  options_.max_stream_items = 100'000;
  Serve();
  v1::Item item = Picture(32, 32, {9, 9, 9});
  item.mutable_preprocessing()->set_min_pixels(512 * 512);
  TestStream stream(*stub_, 600s);
  std::thread writer([&] {
    for (uint64_t key = 0; key < kItems; ++key) EXPECT_TRUE(stream.Send(key, item));
    stream.HalfClose();
  });
  const auto give_up_at = std::chrono::steady_clock::now() + kLongEnough;
  while (!OthersAloneAreServed()) ASSERT_LT(std::chrono::steady_clock::now(), give_up_at);
  size_t answers = 0;
  while (stream.Read()) ++answers;
  writer.join();
  EXPECT_TRUE(stream.Finish().ok());
  EXPECT_EQ(answers, kItems);
  ExpectNothingHeld();
}

TEST_F(StreamEndTest, AClientThatDoesNotReadAndThenDiesFreesAll) {
  options_.max_request_bytes = 1 << 20;
  options_.max_inflight_bytes = 8 << 20;
  Serve();
  TcpGate gate(server_->port());
  const auto stub = v1::VisionEmbedder::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(gate.port()), grpc::InsecureChannelCredentials()));
  {
    TestStream stream(*stub);
    std::thread writer([&] {
      for (uint64_t key = 0; stream.Send(key, Picture(512, 512, {9, 9, 9})); ++key) continue;
    });
    while (Metric("vitower_inflight_bytes") <= 4 << 20) std::this_thread::yield();
    gate.Cut();
    writer.join();
  }
  ExpectNothingHeld();
}

}  // namespace
}  // namespace vitower
