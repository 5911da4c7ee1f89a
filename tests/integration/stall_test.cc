// Clients that hold room on the server and do nothing.
#include <gmock/gmock.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/raw_stream.h"
#include "tests/support/server_fixture.h"
#include "tests/support/test_stream.h"

namespace vitower {
namespace {

using grpc::StatusCode;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using testing::HasSubstr;

constexpr char kStalled[] = "vitower_dropped_total{reason=\"stalled\"}";

class StallTest : public ServerTest {
 protected:
  void Serve() {
    options_.client_stall_timeout = 500ms;
    Start();
    ASSERT_TRUE(server_->WaitUntilServing().ok());
  }
  void ExpectAllIsFreeAndServed() {
    AwaitMetric("vitower_inflight_bytes", 0);
    AwaitMetric("vitower_queue_patches", 0);
    ExpectRowsOf(Embed(OneImage(64, 64, {7, 7, 7})).response.results(0), 64, 64, {7, 7, 7});
  }
  // A small picture whose answer has `side` / 32 squared tokens, 96 bytes each.
  static v1::Item LargeAnswer(uint64_t side) {
    v1::Item item = ImageItem("", SolidBmp(32, 32, {9, 9, 9}));
    item.mutable_preprocessing()->set_min_pixels(side * side);
    return item;
  }
};

// Writes as much as the server takes and reads nothing, on a connection of its own.
class SilentClient final {
 public:
  SilentClient(std::unique_ptr<v1::VisionEmbedder::Stub> stub, const v1::Item& item)
      : stub_(std::move(stub)), stream_(*stub_, 600s), writer_([this, item] {
          for (uint64_t key = 0; stream_.Send(key, item); ++key) continue;
        }) {}
  // Once the server has ended it.
  grpc::Status End() {
    writer_.join();
    while (stream_.Read()) continue;
    return stream_.Finish();
  }

 private:
  const std::unique_ptr<v1::VisionEmbedder::Stub> stub_;
  TestStream stream_;
  std::thread writer_;
};

TEST_F(StallTest, TwoClientsThatNeverReadDoNotHoldAllRoomForEver) {
  options_.max_request_bytes = 1 << 20;
  options_.max_inflight_bytes = 8 << 20;
  options_.max_stream_items = 100'000;
  Serve();
  std::vector<std::unique_ptr<SilentClient>> clients;
  for (int i = 0; i < 2; ++i) {
    clients.push_back(
        std::make_unique<SilentClient>(v1::VisionEmbedder::NewStub(NewChannel()), LargeAnswer(/*side=*/512)));
  }
  for (const auto& client : clients) {
    const grpc::Status end = client->End();
    EXPECT_EQ(end.error_code(), StatusCode::DEADLINE_EXCEEDED);
    EXPECT_EQ(end.error_message(), "the client took nothing of an answer for 500 ms (--client-stall-timeout)");
  }
  EXPECT_GE(Metric(kStalled), 2);
  AwaitMetric("vitower_request_duration_seconds_count{code=\"DEADLINE_EXCEEDED\",method=\"EmbedStream\"}", 2);
  ExpectAllIsFreeAndServed();
}

TEST_F(StallTest, AnItemThatIsBegunAndNotContinuedGivesItsRoomBack) {
  Serve();
  TestStream stream(*stub_);
  ASSERT_TRUE(stream.SendPart(1, 0, 100'000'000, "the first part of a large item"));
  AwaitMetric("vitower_inflight_bytes", 100'000'000);
  EXPECT_FALSE(stream.Read());
  const grpc::Status end = stream.Finish();
  EXPECT_EQ(end.error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(end.error_message(), HasSubstr("sent no more of an item that it had begun for 500 ms"));
  EXPECT_EQ(Metric(kStalled), 1);
  ExpectAllIsFreeAndServed();
}

TEST_F(StallTest, AReplyThatNobodyTakesIsDropped) {
  Serve();
  grpc::ChannelArguments small_window;  // else gRPC takes some megabytes before anybody reads
  small_window.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  const std::string target = "127.0.0.1:" + std::to_string(server_->port());
  RawStream call(grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), small_window),
                 "/vitower.v1.VisionEmbedder/Embed");
  ASSERT_TRUE(call.Write(RequestOf({LargeAnswer(/*side=*/4096)}).SerializeAsString()));
  AwaitMetric(kStalled, 1);
  AwaitMetric("vitower_request_duration_seconds_count{code=\"DEADLINE_EXCEEDED\",method=\"Embed\"}", 1);
  ExpectAllIsFreeAndServed();
  EXPECT_FALSE(call.Read());
  EXPECT_EQ(call.Finish().error_code(), StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(StallTest, AStreamThatWaitsForNothingMayBeIdle) {
  Serve();
  TestStream idle(*stub_);
  ASSERT_TRUE(idle.Send(1, ImageItem("", SolidBmp(32, 32, {}))));
  ASSERT_TRUE(idle.Read());
  TestStream stalled(*stub_);
  ASSERT_TRUE(stalled.SendPart(1, 0, 100, "a part"));
  EXPECT_FALSE(stalled.Read());  // after the time that the other has been idle for
  ASSERT_TRUE(idle.Send(2, ImageItem("", SolidBmp(32, 32, {}))));
  EXPECT_TRUE(idle.Read());
}

}  // namespace
}  // namespace vitower
