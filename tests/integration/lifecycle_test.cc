#include <gmock/gmock.h>

#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/health_service.h"
#include "tests/support/raw_stream.h"
#include "tests/support/server_fixture.h"

namespace vitower {
namespace {

using grpc::StatusCode;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kService[] = "vitower.v1.VisionEmbedder";

class ServerLifecycleTest : public ServerTest {
 protected:
  void Serve() {
    Start();
    ASSERT_TRUE(server_->WaitUntilServing().ok());
  }
  std::future<Reply> EmbedLater(v1::EmbedRequest request, std::chrono::nanoseconds deadline = kLongEnough) {
    return std::async(std::launch::async,
                      [this, request = std::move(request), deadline] { return Embed(request, deadline); });
  }
};

TEST_F(ServerLifecycleTest, HealthFollowsTheWarmUpAndTheDrain) {
  puppet_->Hold();
  Start();
  puppet_->AwaitPasses(1);
  const auto channel = NewChannel();
  RawStream watch(channel, "/grpc.health.v1.Health/Watch");
  watch.Write(HealthRequest(kService));
  EXPECT_EQ(ParseHealth(watch.Read()), Health::kNotServing);
  EXPECT_EQ(CheckHealth(channel, ""), Health::kNotServing);
  EXPECT_EQ(CheckHealth(channel, kService), Health::kNotServing);
  puppet_->Release();
  EXPECT_EQ(ParseHealth(watch.Read()), Health::kServing);
  EXPECT_TRUE(server_->WaitUntilServing().ok());
  EXPECT_EQ(CheckHealth(channel, ""), Health::kServing);
  auto drained = std::async(std::launch::async, [&] { return server_->Drain(); });
  EXPECT_EQ(ParseHealth(watch.Read()), Health::kNotServing);
  EXPECT_TRUE(drained.get().ok());
}

TEST(HealthService, IsNotServingFromTheFirstMomentThatThePortIsOpen) {
  SteadyClock clock;
  Metrics metrics;
  Lifecycle lifecycle(metrics, clock);
  HealthService health(lifecycle);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&health);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials());
  EXPECT_EQ(CheckHealth(channel, ""), Health::kNotServing);
  EXPECT_EQ(CheckHealth(channel, kService), Health::kNotServing);
}

TEST_F(ServerLifecycleTest, HealthOfAServiceThatIsNotThereIsUnknown) {
  Serve();
  RawStream check(NewChannel(), "/grpc.health.v1.Health/Check");
  check.Write(HealthRequest("other"));
  EXPECT_FALSE(check.Read());
  EXPECT_EQ(check.Finish().error_code(), StatusCode::NOT_FOUND);
  RawStream watch(NewChannel(), "/grpc.health.v1.Health/Watch");
  watch.Write(HealthRequest("other"));
  EXPECT_EQ(ParseHealth(watch.Read()), Health::kServiceUnknown);
}

TEST_F(ServerLifecycleTest, ManyHealthWatchesThatComeAndGoAreAllTold) {
  puppet_->Hold();
  Start();
  puppet_->AwaitPasses(1);
  const auto channel = NewChannel();
  std::vector<std::unique_ptr<RawStream>> watches;
  for (int i = 0; i < 40; ++i) {
    watches.push_back(std::make_unique<RawStream>(channel, "/grpc.health.v1.Health/Watch"));
    watches.back()->Write(HealthRequest(kService));
    ASSERT_EQ(ParseHealth(watches.back()->Read()), Health::kNotServing);
    if (i % 2 == 1) watches.pop_back();
  }
  puppet_->Release();
  for (const auto& watch : watches) EXPECT_EQ(ParseHealth(watch->Read()), Health::kServing);
}

TEST_F(ServerLifecycleTest, ProbesTellLivenessFromReadiness) {
  puppet_->Hold();
  Start();
  puppet_->AwaitPasses(1);
  EXPECT_THAT(Get("/healthz"), AllOf(StartsWith("HTTP/1.1 200 "), EndsWith("\r\n\r\nwarming\n")));
  EXPECT_THAT(Get("/readyz"), AllOf(StartsWith("HTTP/1.1 503 "), EndsWith("\r\n\r\nwarming\n")));
  puppet_->Release();
  EXPECT_TRUE(server_->WaitUntilServing().ok());
  EXPECT_THAT(Get("/readyz"), AllOf(StartsWith("HTTP/1.1 200 "), EndsWith("\r\n\r\nserving\n")));
  EXPECT_THAT(Get("/nothing"), StartsWith("HTTP/1.1 404 "));
  ASSERT_TRUE(server_->Drain().ok());
  EXPECT_THAT(Get("/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Get("/readyz"), StartsWith("HTTP/1.1 503 "));
}

TEST_F(ServerLifecycleTest, AServerThatIsAboutToStopSaysSoAndStillServes) {
  options_.drain_delay = 1s;
  Serve();
  auto drained = std::async(std::launch::async, [&] { return server_->Drain(); });
  AwaitMetric("vitower_state{state=\"draining\"}", 1);
  EXPECT_EQ(CheckHealth(NewChannel(), ""), Health::kNotServing);
  EXPECT_THAT(Get("/readyz"), StartsWith("HTTP/1.1 503 "));
  ExpectRowsOf(Embed(OneImage()).response.results(0), 64, 64, {});
  EXPECT_TRUE(drained.get().ok());
}

TEST_F(ServerLifecycleTest, CallsDuringTheWarmUpAreUnavailable) {
  puppet_->Hold();
  Start();
  puppet_->AwaitPasses(1);
  const Reply reply = Embed(OneImage());
  EXPECT_EQ(reply.status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(reply.status.error_message(), HasSubstr("warming up"));
  puppet_->Release();
}

TEST_F(ServerLifecycleTest, NothingIsParsedDuringTheWarmUp) {
  puppet_->Hold();
  Start();
  puppet_->AwaitPasses(1);
  RawStream call(NewChannel(), "/vitower.v1.VisionEmbedder/Embed");
  call.Write("\xFF\xFF\xFF not protobuf");
  EXPECT_FALSE(call.Read());
  EXPECT_EQ(call.Finish().error_code(), StatusCode::UNAVAILABLE);
  puppet_->Release();
}

TEST_F(ServerLifecycleTest, TheWarmUpFillsTheBudget) {
  options_.max_batch_patches = 600;
  Serve();
  int64_t patches = 0;
  const std::vector<GridThw> warm_up = puppet_->batches().at(0);
  for (const GridThw& grid : warm_up) patches += grid.patches();
  EXPECT_EQ(patches, 600);
}

TEST_F(ServerLifecycleTest, AFailedWarmUpIsReportedAndNothingIsServed) {
  puppet_->SetMood(Puppet::Mood::kFail);
  Start();
  EXPECT_THAT(std::string(server_->WaitUntilServing().message()), HasSubstr("secret reason"));
  EXPECT_EQ(CheckHealth(NewChannel(), ""), Health::kNotServing);
  EXPECT_EQ(Metric("vitower_state{state=\"stuck\"}"), 1);
}

TEST_F(ServerLifecycleTest, ADrainUnderLoadLosesNothingThatWasAccepted) {
  Serve();
  puppet_->Hold();
  std::vector<std::future<Reply>> replies;
  for (int i = 0; i < 20; ++i) replies.push_back(EmbedLater(OneImage(64, 64, {static_cast<uint8_t>(i + 10), 0, 0})));
  AwaitMetric("vitower_queue_items", 20);
  auto drained = std::async(std::launch::async, [&] { return server_->Drain(); });
  AwaitMetric("vitower_state{state=\"draining\"}", 1);
  EXPECT_EQ(Embed(OneImage()).status.error_code(), StatusCode::UNAVAILABLE);
  puppet_->Release();
  for (int i = 0; i < 20; ++i) {
    const Reply reply = replies[static_cast<size_t>(i)].get();
    ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
    ExpectRowsOf(reply.response.results(0), 64, 64, {static_cast<uint8_t>(i + 10), 0, 0});
  }
  EXPECT_TRUE(drained.get().ok());
  EXPECT_TRUE(server_->Drain().ok());
  EXPECT_EQ(Metric("vitower_state{state=\"stopped\"}"), 1);
}

TEST_F(ServerLifecycleTest, ADrainBehindAStuckDeviceEndsInTimeAndAnswersTheRest) {
  options_.drain_timeout = 1s;
  Serve();
  puppet_->Hold();
  auto running = EmbedLater(OneImage());
  puppet_->AwaitPasses(2);
  auto waiting = EmbedLater(RequestOf({ImageItem("a", SolidBmp(32, 32, {})), ImageItem("b", "bad")}));
  AwaitMetric("vitower_queue_items", 2);
  EXPECT_EQ(server_->Drain().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(running.get().response.results(0).status().code(), 14U);
  const Reply rest = waiting.get();
  EXPECT_EQ(rest.response.results(0).status().code(), 14U);
  EXPECT_EQ(rest.response.results(1).status().code(), 3U);
  puppet_->Release();
}

TEST_F(ServerLifecycleTest, AServerCanBeDrainedWhileItWarmsUp) {
  puppet_->Hold();
  Start();
  puppet_->AwaitPasses(1);
  EXPECT_TRUE(server_->Drain().ok());
  EXPECT_EQ(server_->WaitUntilServing().code(), absl::StatusCode::kUnavailable);
  puppet_->Release();
}

TEST_F(ServerLifecycleTest, WhatHasExpiredIsDroppedBeforeTheForwardPass) {
  Serve();
  puppet_->Hold();
  auto running = EmbedLater(OneImage());
  puppet_->AwaitPasses(2);
  EXPECT_EQ(Embed(OneImage(96, 96), 100ms).status.error_code(), StatusCode::DEADLINE_EXCEEDED);
  // The server counts from when a call arrives: the first call's time is up there too when this one's is up here.
  EXPECT_EQ(Embed(OneImage(), 300ms).status.error_code(), StatusCode::DEADLINE_EXCEEDED);
  puppet_->Release();
  EXPECT_TRUE(running.get().status.ok());
  AwaitMetric("vitower_queue_items", 0);
  EXPECT_GE(Metric("vitower_dropped_total{reason=\"expired\"}"), 1);
  for (const std::vector<GridThw>& batch : puppet_->batches()) {
    EXPECT_THAT(batch, testing::Not(testing::Contains(GridThw{1, 6, 6})));
  }
}

// When the server hears of a cancellation is up to gRPC, so not every round drops its call.
TEST_F(ServerLifecycleTest, WhatIsCancelledIsDroppedBeforeTheForwardPass) {
  Serve();
  for (int round = 0; round < 100 && Metric("vitower_dropped_total{reason=\"cancelled\"}") < 1; ++round) {
    puppet_->Hold();
    auto running = EmbedLater(OneImage());
    AwaitMetric("vitower_queue_items", 1);
    grpc::ClientContext context;
    auto cancelled = std::async(std::launch::async, [&] {
      v1::EmbedResponse response;
      return stub_->Embed(&context, OneImage(), &response);
    });
    AwaitMetric("vitower_queue_items", 2);
    context.TryCancel();
    EXPECT_EQ(cancelled.get().error_code(), StatusCode::CANCELLED);
    EXPECT_EQ(CheckHealth(NewChannel(), ""), Health::kServing);
    puppet_->Release();
    EXPECT_TRUE(running.get().status.ok());
    AwaitMetric("vitower_queue_items", 0);
  }
  EXPECT_EQ(Metric("vitower_dropped_total{reason=\"cancelled\"}"), 1);
}

TEST_F(ServerLifecycleTest, ASecondServerOnThePortIsRefusedByName) {
  Serve();
  options_.listen = "127.0.0.1:" + std::to_string(server_->port());
  const auto second = TryStart();
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("cannot listen on " + options_.listen + " (--listen)"));
}

TEST_F(ServerLifecycleTest, ATakenMetricsPortIsRefusedByName) {
  Serve();
  options_.metrics_listen = "127.0.0.1:" + std::to_string(server_->metrics_port());
  const auto second = TryStart();
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(options_.metrics_listen + " (--metrics-listen): cannot bind to "));
}

TEST_F(ServerLifecycleTest, AnAddressThatCannotBeListenedOnIsToldBeforeAnythingStarts) {
  EXPECT_TRUE(CheckListen(options_).ok());
  Serve();
  const std::string taken = "127.0.0.1:" + std::to_string(server_->port());
  options_.listen = taken;
  EXPECT_EQ(std::string(CheckListen(options_).message()),
            "cannot listen on " + taken + " (--listen): Address already in use");
  options_.listen = "127.0.0.1:0";
  options_.metrics_listen = "127.0.0.1:" + std::to_string(server_->metrics_port());
  EXPECT_THAT(std::string(CheckListen(options_).message()), HasSubstr("(--metrics-listen): Address already in use"));
  options_.metrics_listen = "no.such.host.invalid:0";
  EXPECT_THAT(std::string(CheckListen(options_).message()), HasSubstr("cannot listen on no.such.host.invalid:0"));
}

TEST_F(ServerLifecycleTest, EncodersOfDifferentModelsAreRefused) {
  std::vector<std::unique_ptr<Encoder>> encoders;
  encoders.push_back(MakePuppetEncoder(puppet_, DType::kFp32));
  encoders.push_back(MakePuppetEncoder(puppet_, DType::kBf16));
  const auto server = Server::Start(options_, std::move(encoders));
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("all encoders must hold one model"));
  EXPECT_THAT(std::string(Server::Start(options_, {}).status().message()), HasSubstr("no encoder"));
}

}  // namespace
}  // namespace vitower
