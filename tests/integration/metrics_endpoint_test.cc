#include <gmock/gmock.h>

#include <fstream>
#include <future>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "server/stage.h"
#include "tests/support/server_fixture.h"
#include "tests/support/temporary_folder.h"

namespace vitower {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// More than the stack that civetweb gives its threads, as CUDA's libraries have it: all tests here start a server.
thread_local volatile char thread_data[256 << 10];

class MetricsEndpointTest : public ServerTest {
 protected:
  void SetUp() override {
    Start();
    ASSERT_TRUE(server_->WaitUntilServing().ok());
  }
  double Stage(std::string_view stage, const std::string& part) const {
    return Metric("vitower_stage_duration_seconds_" + part + "{stage=\"" + std::string(stage) + "\"}");
  }
};

TEST_F(MetricsEndpointTest, EveryStageIsObservedOncePerItem) {
  v1::EmbedRequest request;
  for (int i = 0; i < 5; ++i) *request.add_items() = ImageItem("", SolidBmp(64, 64, {}));
  ASSERT_TRUE(Embed(request).status.ok());
  AwaitMetric("vitower_stage_duration_seconds_count{stage=\"send\"}", 5);
  for (const std::string_view stage : kStageNames) EXPECT_EQ(Stage(stage, "count"), 5) << stage;
  EXPECT_EQ(Metric("vitower_batch_items_sum"), 5);
  EXPECT_EQ(Metric("vitower_batch_patches_sum"), 80);
  EXPECT_EQ(Metric("vitower_batch_stage_duration_seconds_count{stage=\"blocks\"}"),
            Metric("vitower_batch_items_count"));
  EXPECT_EQ(Metric("vitower_patches_total"), 80);
  EXPECT_EQ(Metric("vitower_tokens_total"), 20);
}

TEST_F(MetricsEndpointTest, AStageIsNotObservedByAnItemThatNeverGotThere) {
  ASSERT_TRUE(Embed(RequestOf({ImageItem("", "text, no picture"), ImageItem("", PngHeader(64, 64))})).status.ok());
  AwaitMetric("vitower_stage_duration_seconds_count{stage=\"send\"}", 2);
  EXPECT_EQ(Stage("admit", "count"), 2);
  EXPECT_EQ(Stage("decode", "count"), 1);
  EXPECT_EQ(Stage("resize", "count"), 0);
  EXPECT_EQ(Stage("blocks", "count"), 0);
}

TEST_F(MetricsEndpointTest, AtConcurrencyOneTheStagesAddUpToTheRequest) {
  constexpr int kCalls = 20;
  for (int i = 0; i < kCalls; ++i) ASSERT_TRUE(Embed(OneImage(640, 480)).status.ok());
  const std::string request = "{code=\"OK\",method=\"Embed\"}";
  AwaitMetric("vitower_request_duration_seconds_count" + request, kCalls);
  double stages = 0;
  for (const std::string_view stage : kStageNames) stages += Stage(stage, "sum");
  const double whole = Metric("vitower_request_duration_seconds_sum" + request);
  EXPECT_GE(stages, 0.95 * whole);
  EXPECT_LE(stages, 1.001 * whole);
}

TEST_F(MetricsEndpointTest, BytesAreCountedBothWays) {
  const v1::EmbedRequest request = OneImage();
  const Reply reply = Embed(request);
  EXPECT_EQ(Metric("vitower_bytes_received_total"), static_cast<double>(request.ByteSizeLong()));
  EXPECT_EQ(Metric("vitower_bytes_sent_total"), static_cast<double>(reply.response.ByteSizeLong()));
}

TEST_F(MetricsEndpointTest, TheStateAndTheModelAreShown) {
  const std::string text = Scrape();
  EXPECT_THAT(text, HasSubstr("vitower_state{state=\"serving\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("vitower_model_info{dtype=\"fp32\",fingerprint=\"0123abcd\",name=\"puppet\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("vitower_device_up{device=\"puppet:0\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("process_open_fds "));
}

class TraceTest : public ServerTest {
 protected:
  const TemporaryFolder folder_;
};

TEST_F(TraceTest, APageLeavesAFileOfWhatTheThreadsDid) {
  options_.trace_dir = folder_.path();
  Start();
  ASSERT_TRUE(server_->WaitUntilServing().ok());
  EXPECT_THAT(Get("/debug/trace?seconds=0"), StartsWith("HTTP/1.1 400 "));
  auto answer = std::async(std::launch::async, [&] { return Get("/debug/trace?seconds=1"); });
  while (answer.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    ASSERT_TRUE(Embed(OneImage()).status.ok());
  }
  const std::string head_and_path = answer.get();
  ASSERT_THAT(head_and_path, StartsWith("HTTP/1.1 200 "));
  const size_t begin = head_and_path.rfind(folder_.path().string());
  const std::string path = head_and_path.substr(begin, head_and_path.size() - 1 - begin);
  std::ifstream file(path);
  const std::string json{std::istreambuf_iterator<char>(file), {}};
  for (const char* name : {"receive", "admit", "decode", "resize", "queue", "pass", "blocks", "encode", "send"}) {
    EXPECT_THAT(json, HasSubstr("\"name\":\"" + std::string(name) + "\"")) << name;
  }
}

TEST_F(TraceTest, AFullFolderTakesNoMore) {
  for (int i = 0; i < 32; ++i) folder_.Write("vitower-" + std::to_string(i) + ".trace.json", "{}");
  options_.trace_dir = folder_.path();
  Start();
  const std::string answer = Get("/debug/trace?seconds=1");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 409 "));
  EXPECT_THAT(answer, HasSubstr("holds 32 traces"));
}

TEST_F(TraceTest, WithoutAFolderThereIsNoPage) {
  Start();
  EXPECT_THAT(Get("/debug/trace?seconds=1"), StartsWith("HTTP/1.1 404 "));
  options_.trace_dir = "/no/such/folder";
  EXPECT_THAT(std::string(TryStart().status().message()), HasSubstr("--trace-dir is \"/no/such/folder\""));
}

TEST_F(MetricsEndpointTest, StartsInAProcessWithMuchThreadLocalData) {
  thread_data[0] = 1;  // or the linker leaves it out
  EXPECT_THAT(Scrape(), HasSubstr("vitower_build_info"));
}

TEST_F(MetricsEndpointTest, ConnectionsThatAskForNothingDoNotStopTheScrapes) {
  std::vector<std::unique_ptr<IdleConnection>> idle;
  for (int i = 0; i < 7; ++i) idle.push_back(std::make_unique<IdleConnection>(server_->metrics_port()));
  EXPECT_THAT(Scrape(), HasSubstr("vitower_build_info"));
}

}  // namespace
}  // namespace vitower
